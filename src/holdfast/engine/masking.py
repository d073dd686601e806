"""Does a model withstand attacks, or does it only hide its gradient? Symptoms, and an attack past it.

The symptoms are those of Athalye, Carlini and Wagner 2018 (sec. 3.1) and Carlini et al. 2019. Each is
a count with its interval, and is flagged only where the interval leaves no room for chance.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.core.goal import AwayFrom
from holdfast.core.record import Measurement
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.core.target import Gradients
from holdfast.engine.adaptive import Adaptive, Given, Margin, ways
from holdfast.engine.case import rate
from holdfast.engine.evasion import answers, attack
from holdfast.engine.lookup import registered
from holdfast.ops import balls
from holdfast.ops.stats import clopper_pearson, mean_interval

SAMPLE = 100
"""Rows on which symptoms are looked for and adaptive attacks are tried."""
LEAST = 20
"""Fewer rows that the model gets right say nothing."""
JUDGED = 10
"""Draws by which a random target is judged."""
NOISE = 40
"""Random points per row: as many as plain PGD makes passes."""
DIRECTIONS = 24
"""Random directions per row along which slopes are compared."""
ALIKE = 0.75
"""Correlation of predicted and true changes below which a gradient is called wrong."""
DROP = 0.05
"""Share of rows by which an adaptive attack must be stronger to be a symptom of its own."""


@dataclass(frozen=True)
class Symptom:
    """A sign of a masked gradient.

    Attributes:
        name: what it is called.
        evidence: the number it rests on.
        flagged: whether the interval leaves no room for chance.
        rule: when it is flagged, in words.
    """

    name: str
    evidence: Measurement
    flagged: bool
    rule: str


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Whether the gradient is masked, and how robust the model is to an attack that knows it.

    Attributes:
        symptoms: every sign that was looked for, flagged or not.
        chosen: name of the adaptive attack that was strongest on the sample.
        tried: robust accuracy on the sample of every adaptive attack, by name in `part`.
        plain: robust accuracy against PGD on the gradient that the model shows.
        adaptive: robust accuracy against plain PGD and the chosen attack; the number to believe.
        x: (N, ...) the inputs that brought it down, the clean ones elsewhere.
        forwards: rows that went forward through the target in all attacks and tests.
        backwards: rows that went backward.
    """

    symptoms: tuple[Symptom, ...]
    chosen: str
    tried: tuple[Measurement, ...]
    plain: Measurement
    adaptive: Measurement
    x: Tensor
    forwards: int
    backwards: int

    @property
    def flags(self) -> tuple[str, ...]:
        """Names of the symptoms that are flagged."""
        return tuple(each.name for each in self.symptoms if each.flagged)

    @property
    def masked(self) -> bool:
        """Whether any symptom is flagged: plain PGD's number is not to be believed."""
        return bool(self.flags)

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """All numbers, for a record."""
        return (self.plain, self.adaptive, *self.tried, *(s.evidence for s in self.symptoms))


def diagnose(target: Gradients, data: Dataset, budget: Budget, run: Run) -> Diagnosis:
    """Look for masked gradients and attack with the strongest of the adaptive attacks.

    `evasion/pgd` must be loaded; `evasion/eot`, `evasion/square` and `evasion/nes` are used where
    they are. A random target is judged by the mean over several draws, and a model's layers draw
    from a stream of their own, so the same run gives the same diagnosis.

    Args:
        target: a classifier with gradients, in whatever state they are.
        data: held-out rows.
        budget: measure and one eps for all rows.
        run: seed, batch, device and who hears of progress.

    Raises:
        NotApplicable: no images or features of one shape, a measure that PGD does not know, or
            hardly a row is answered right.
    """
    if budget.measure not in registered("evasion/pgd").measures:
        raise NotApplicable(f"{budget.measure} is not a measure that plain PGD can be run with")
    if not isinstance(data.x, Tensor) or data.y.ndim != 1:
        raise NotApplicable("needs inputs of one shape with one label each")
    devices = [run.device] if run.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(run.seed)  # layers of a random model draw from the global stream
        return _Examination(target, data.x, data.y, budget, run).diagnosis()


class _Examination:
    """One diagnosis under way."""

    def __init__(self, target: Gradients, x: Tensor, y: Tensor, budget: Budget, run: Run) -> None:
        self.given, self.space, self.budget, self.run = Given(target), target.space, budget, run
        self.quiet = run.quiet
        self.all_x, self.all_y = x, y
        self.rows = (answers(target, x, run) == y).nonzero().flatten()
        if len(self.rows) < LEAST:
            raise NotApplicable(f"needs {LEAST} rows that are answered right, has {len(self.rows)}")
        self.x, self.y = x[self.rows[:SAMPLE]].to(run.device), y[self.rows[:SAMPLE]].to(run.device)
        # judged apart from what the attacks spend; with new draws, where the target remembers its own
        self.live = Given(target).fresh(run.generator("judge"))
        self.pgd = registered("evasion/pgd")()
        self.plain = Adaptive("", self.pgd, self.given)
        self._made: dict[str, Tensor] = {}
        self._cost: dict[str, int] = {}
        self._known: tuple[Adaptive, ...] = ()
        self.random = self._differing()
        self.draws = JUDGED if self.random.any() else 1

    def diagnosis(self) -> Diagnosis:
        """Symptoms, then the trial of all attacks, then plain and chosen attack on all rows."""
        symptoms = list(self._gradients())
        symptoms.append(_flag("random", rate("scores differ between calls", self.random), 0.01))
        symptoms += self._slopes()
        symptoms += self._duels()
        symptoms += self._unbounded()
        way, tried = self._choose()
        x, y = self.all_x[self.rows], self.all_y[self.rows]
        best = self._on_all(self.plain)
        before = self._standing(best, y)
        moved = self._on_all(way)
        better = self._standing(moved, y) < self._standing(best, y)
        best = torch.where(better.view(-1, *[1] * (x.ndim - 1)), moved, best)
        # judged anew: the smaller of two noisy numbers is too small
        after = self._standing(best, y)
        drop = self._share("adaptive attack lowers robust accuracy by", before - after)
        symptoms.append(_flag("an adaptive attack is far stronger", drop, DROP))
        return Diagnosis(
            tuple(symptoms), way.name, tried,
            self._share("robust accuracy (plain PGD)", before),
            self._share("robust accuracy (adaptive)", after),
            self.all_x.index_copy(0, self.rows, best), *self.given.passes,
        )  # fmt: skip

    def _on_sample(self, way: Adaptive) -> Tensor:
        """The sample as the attack leaves it; made once."""
        if way.name not in self._made:
            before = sum(self.given.passes)
            self._made[way.name] = self._strike(way, self.rows[:SAMPLE])
            self._cost[way.name] = sum(self.given.passes) - before
        return self._made[way.name]

    def _on_all(self, way: Adaptive) -> Tensor:
        """All rows that are answered right as the attack leaves them."""
        rest = self.rows[SAMPLE:]
        made = self._on_sample(way)
        return torch.cat([made, self._strike(way, rest)]) if len(rest) else made

    def _strike(self, way: Adaptive, rows: Tensor) -> Tensor:
        x, y = self.all_x[rows], self.all_y[rows]
        goal = Margin(y) if way.name else AwayFrom(y)  # plain PGD climbs the usual loss
        got = attack(way.method, way.victim, x, goal, self.budget, self.quiet)
        self.run.progress(sum(self.given.passes), sum(self.given.passes) + 1)
        return got.x

    def _standing(self, x: Tensor, y: Tensor) -> Tensor:
        """(N,) share of draws under which the answer is still right."""
        each = [(answers(self.live, x, self.quiet) == y).float() for _ in range(self.draws)]
        return torch.stack(each).mean(0)

    def _share(self, name: str, each: Tensor) -> Measurement:
        """Mean of a number per attacked row over all rows; rows answered wrong count as zero."""
        total = len(self.all_y)
        if self.draws == 1:
            return rate(name, int(each.sum().round()), total)
        padded = torch.cat([each, each.new_zeros(total - len(each))]).double()
        low, high = mean_interval(padded.numpy())
        return Measurement(name, float(padded.mean()), total, max(low, -1.0), min(high, 1.0))

    def _differing(self) -> Tensor:
        """(n,) Boolean: rows of the sample whose scores differ between two calls."""
        first, again = self.live.scores(self.x), self.live.scores(self.x)
        scale = first.std().clamp(min=1e-12)
        return ((first - again).abs().amax(1) > 1e-3 * scale).cpu()

    def _gradients(self) -> Iterator[Symptom]:
        """Gradients that are zero or no numbers, of the margin and of the usual loss."""
        start = self.space.random(self.x, self.budget, self.run.generator("start"))
        goal = AwayFrom(self.y)
        margin = self.given.gradient(start, goal.margin).wrt_input.flatten(1)
        usual = self.given.gradient(start, goal.loss).wrt_input.flatten(1)
        dead = ~margin.isfinite().all(1) | (margin == 0).all(1)
        lost = ~dead & (~usual.isfinite().all(1) | (usual == 0).all(1))
        yield _flag("no gradient", rate("gradient is zero or not finite", dead), 0.01)
        yield _flag(
            "saturated loss", rate("gradient of the loss is zero, of the margin is not", lost), 0.01
        )

    def _slopes(self) -> Iterator[Symptom]:
        """Whether the gradient foretells how the margin changes along random directions."""
        if self.random.any():
            return  # differences of a random function say nothing about its gradient
        step, many = 0.1 * float(self.budget.eps), DIRECTIONS
        space, rng = self.space, self.run.generator("directions")
        goal, n = AwayFrom(self.y), len(self.x)
        start = space.random(self.x, replace(self.budget, eps=0.5 * float(self.budget.eps)), rng)
        grad = self.given.gradient(start, goal.margin).wrt_input
        centre, wide = start.repeat_interleave(many, 0), goal.take(_repeat(n, many, self.y.device))
        near = space.random(centre, replace(self.budget, eps=step), rng)
        told = ((near - centre) * grad.repeat_interleave(many, 0)).flatten(1).sum(1)
        parts = torch.arange(len(near), device=near.device).split(self.run.batch_size)
        at = goal.margin(self.given.scores(start)).repeat_interleave(many)
        true = torch.cat([wide.take(p).margin(self.given.scores(near[p])) for p in parts]) - at
        each = _correlation(told.view(n, many), true.view(n, many)).double().cpu()
        low, high = mean_interval(each.numpy())
        found = Measurement("slopes agree with differences", float(each.mean()), n, low, high)
        rule = f"upper end of the mean correlation below {ALIKE:g}"
        yield Symptom("wrong gradient", found, high < ALIKE, rule)

    def _duels(self) -> Iterator[Symptom]:
        """Weaker attackers that find what PGD does not: noise, a single step, a black box."""
        fell = self._fallen(self._on_sample(self.plain))
        step = type(self.pgd)(steps=1, step_size=1.0, random_start=False)
        one = attack(step, self.given, self.x, AwayFrom(self.y), self.budget, self.quiet)
        rivals = {"random noise": self._noise(), "one step": one.x}
        black = (way for way in self._ways() if way.name.startswith("black box"))
        rivals.update({way.name: self._on_sample(way) for way in black})
        for name, x in rivals.items():
            other = self._fallen(x)
            alone, lost = int((other & ~fell).sum()), int((fell & ~other).sum())
            found = rate(f"{name} finds what PGD does not", alone, len(self.x))
            # the sign test on rows that only one of the two breaks, one-sided at 1 %
            beaten = clopper_pearson(alone, alone + lost, 0.98).low > 0.5
            rule = f"sign test at 1 %: PGD alone breaks {lost} of the {len(self.x)} rows"
            yield Symptom(f"{name} beats PGD", found, beaten, rule)

    def _noise(self) -> Tensor:
        """The worst of many random points around every row, by the margin."""
        goal, rng, best = AwayFrom(self.y), self.run.generator("noise"), self.x
        source = self.given.fresh(self.run.generator("noise draws"))
        worst = torch.full((len(best),), -torch.inf, device=best.device)
        for _ in range(NOISE):
            noisy = self.space.random(self.x, self.budget, rng)
            margin = goal.margin(source.scores(noisy))
            better = (margin > worst).view(-1, *[1] * (best.ndim - 1))
            best, worst = torch.where(better, noisy, best), torch.maximum(margin, worst)
        return best.cpu()

    def _fallen(self, x: Tensor) -> Tensor:
        """(n,) Boolean: rows of the sample that are misread by most draws."""
        return self._standing(x, self.y.cpu()) < 0.5

    def _unbounded(self) -> Iterator[Symptom]:
        """Without a bound on the change every input must fall."""
        space = self.space
        ends = (space.low, space.high, space.scale) if isinstance(space, Box) else ()
        if not ends:
            return
        low, high, scale = (torch.as_tensor(v, dtype=self.x.dtype) for v in ends)
        wide = ((high - low) / scale).expand(self.x.shape[1:]).unsqueeze(0)
        if not wide.isfinite().all():
            return
        budget = replace(self.budget, eps=float(balls.size(wide, self.budget.norm)))
        got = attack(self.pgd, self.given, self.x, AwayFrom(self.y), budget, self.quiet)
        found = rate("unbounded PGD succeeds", self._fallen(got.x))
        yield Symptom(
            "unbounded attack fails", found, (found.high or 0) < 0.95, "upper end below 0.95"
        )

    def _ways(self) -> tuple[Adaptive, ...]:
        if not self._known:
            found = ways(self.given, self.x, self.budget, bool(self.random.any()), self.quiet)
            self._known = tuple(found)
        return self._known

    def _choose(self) -> tuple[Adaptive, tuple[Measurement, ...]]:
        """The attack under which the fewest rows of the sample stand, and what every one reached."""
        rows, found = self.rows[:SAMPLE], list[tuple[float, int, Adaptive, Measurement]]()
        for way in self._ways():
            each = self._standing(self._on_sample(way), self.all_y[rows])
            low, high = clopper_pearson(int(each.sum().round()), len(rows))
            value = float(each.mean())
            told = Measurement(
                "robust accuracy on the sample", value, len(rows), low, high, way.name
            )
            found.append((value, self._cost[way.name], way, told))
        best = min(found, key=lambda each: each[:2])
        return best[2], tuple(each[3] for each in found)


def _flag(name: str, found: Measurement, limit: float) -> Symptom:
    """A share that should be zero."""
    return Symptom(name, found, (found.low or 0) > limit, f"lower end above {limit:g}")


def _repeat(n: int, times: int, device: torch.device) -> Tensor:
    return torch.arange(n, device=device).repeat_interleave(times)


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Of every row; 0 where one of the two does not vary, 1 where neither does."""
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    spread = a.square().sum(1).sqrt(), b.square().sum(1).sqrt()
    still = (spread[0] < balls.TINY) & (spread[1] < balls.TINY)
    value = (a * b).sum(1) / (spread[0] * spread[1]).clamp(min=balls.TINY)
    return torch.where(still, torch.ones_like(value), value)
