"""How the Carlini-Wagner attacks in L2, Linf and L0 differ: what pulls a change back to zero, and
how the constant c and the room of every row follow from what was found.
"""

from dataclasses import dataclass, field, fields
from typing import Any, Self, cast

import torch
from torch import Tensor

from holdfast.core.goal import AwayFrom
from holdfast.core.space import of_box
from holdfast.core.target import Gradients
from holdfast.ops import balls
from holdfast.ops.rows import take
from holdfast.ops.segments import Segments

_MOST = 1e10
"""Authors' code: largest c."""
_TENTHS = 10
"""Authors' code: whether a descent still helps is looked at ten times."""


@dataclass(frozen=True)
class Settings:
    """Hyperparameters that the plans share; see `CarliniWagner`."""

    steps: int
    search_steps: int
    initial_c: float
    largest_c: float
    decrease: float
    enough: float = 0.0


@dataclass(eq=False)
class Plan:
    """Per-row state of a search, changed in place: every field is (N,), or (N, ...) in L0.

    Attributes:
        settings: hyperparameters.
        c: weight of f against the size of the change.
        count: steps of the present descent.
        before: its loss at the last look.
        fell: hits since then.
    """

    settings: Settings
    c: Tensor
    count: Tensor
    before: Tensor
    fell: Tensor

    @classmethod
    def of(cls, settings: Settings, x: Tensor) -> Self:
        """At the beginning, for inputs `x`."""
        zero = x.new_zeros(len(x))
        state = [zero + settings.initial_c, zero.clone(), zero + torch.inf, zero.clone()]
        for each in fields(cast(Any, cls))[len(state) + 1 :]:
            start = each.metadata["start"]  # None for ones of the input's shape
            state.append(torch.ones_like(x) if start is None else zero + start)
        return cls(settings, *state)

    def take(self, index: Tensor) -> Self:
        """The rows `index`."""
        state = [getattr(self, each.name) for each in fields(self)[1:]]
        return type(self)(self.settings, *take(index, *state))

    def begin(self, short: Tensor, slope: Tensor, reach: tuple[Tensor, Tensor]) -> None:
        """Told how far clean inputs are short of a hit, (N,), their margin's slope and `Box.reach`.

        All in units.
        """

    def held(self, adv: Tensor, start: Tensor) -> Tensor:
        """The inputs with those features as they were that may not change any more."""
        return adv

    def drawn(self, hit: Tensor, delta: Tensor) -> Tensor:
        """Hits (N,) that are drawn back to the boundary at once."""
        return torch.zeros_like(hit)

    def pull(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        """The distance part of the objective (N,), and its gradient in the change, in units."""
        return delta.flatten(1).square().sum(1), 2 * delta

    def told(
        self, hit: Tensor, delta: Tensor, slope: Tensor, loss: Tensor
    ) -> tuple[Tensor, Tensor]:
        """After a step: rows (N,) that have finished, and rows whose descent starts anew.

        Args:
            hit: (N,) whether the goal is reached with the confidence that is asked for.
            delta: the change, in units.
            slope: the margin's gradient in it.
            loss: (N,) value of the objective.
        """
        raise NotImplementedError

    def _late(self, hit: Tensor, loss: Tensor) -> tuple[Tensor, Tensor]:
        """Rows whose steps are used up or a tenth of them brought nothing, and whether any hit.

        Only hits of the last tenth count: Adam's first step is as long for any c, so that near
        rows are hit once even where c is far too small.
        """
        self.count, self.fell = self.count + 1, self.fell + hit
        look = self.count % max(1, self.settings.steps // _TENTHS) == 0
        late = (look & (loss > 0.9999 * self.before)) | (self.count >= self.settings.steps)
        fell = self.fell > 0
        self.before = torch.where(look, loss, self.before)
        self.fell = self.fell.masked_fill(look | late, 0)
        return late, fell

    def _anew(self, which: Tensor) -> Tensor:
        self.count = self.count.masked_fill(which, 0)
        self.fell = self.fell.masked_fill(which, 0)
        self.before = self.before.masked_fill(which, torch.inf)
        return which


@dataclass(eq=False)
class Bisection(Plan):
    """|delta|^2 + c f; c by bisection, each c from the clean input on (sec. VI-A)."""

    low: Tensor = field(metadata={"start": 0.0})
    high: Tensor = field(metadata={"start": torch.inf})
    searched: Tensor = field(metadata={"start": 0.0})

    def told(
        self, hit: Tensor, delta: Tensor, slope: Tensor, loss: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Another c where the descent is over; the row is done after `search_steps` of them."""
        over, fell = self._late(hit, loss)
        return self._next(over, fell), self._anew(over)

    def _next(self, over: Tensor, fell: Tensor) -> Tensor:
        """Narrows the interval of c where a descent is over; which rows have used up theirs."""
        self.high = torch.where(over & fell, torch.minimum(self.high, self.c), self.high)
        self.low = torch.where(over & ~fell, torch.maximum(self.low, self.c), self.low)
        new = torch.where(self.high.isfinite(), (self.low + self.high) / 2, 10 * self.c)
        self.c = torch.where(over, new, self.c)
        self.searched = self.searched + over
        return over & (self.searched >= self.settings.search_steps)


@dataclass(eq=False)
class L2(Bisection):
    """The same with an interval that closes faster, and rows that leave when little is to be gained.

    Ours: at the nearest hit |delta|^2 + c f is stationary from c = 2 <delta, g> / |g|^2 on, where g
    is the gradient of the margin: for any larger c it still is the minimum, as f has a kink there.
    So this multiplier of the best hit bounds c from below, and each descent goes on from that hit.

    Attributes:
        near: |delta|^2 of the best hit.
        dual: its multiplier.
        was: `near` when the descent began.
    """

    near: Tensor = field(metadata={"start": torch.inf})
    dual: Tensor = field(metadata={"start": 0.0})
    was: Tensor = field(metadata={"start": torch.inf})

    def begin(self, short: Tensor, slope: Tensor, reach: tuple[Tensor, Tensor]) -> None:
        """The first c is thrice the multiplier of the hit on a linear model with that slope."""
        square = slope.flatten(1).square().sum(1).clamp(min=balls.TINY)
        self.c = (3 * 2 * short / square).clamp(self.settings.initial_c, _MOST)

    def told(
        self, hit: Tensor, delta: Tensor, slope: Tensor, loss: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Another c where the descent is over; the row is done when that gained next to nothing."""
        better = (hit & (loss < self.near)).nonzero().flatten()
        if len(better):
            d, g = delta[better].flatten(1), slope[better].flatten(1)
            self.near[better] = loss[better]
            self.dual[better] = 2 * (d * g).sum(1) / g.square().sum(1).clamp(min=balls.TINY)
        over, fell = self._late(hit, loss)
        if not bool(over.any()):
            return over, over
        known = self.near.isfinite()
        self.low = torch.where(over & known, torch.maximum(self.low, self.dual), self.low)
        self.low = torch.minimum(self.low, self.high)
        done = self._next(over, fell | (self.near < self.was))
        done |= over & known & (self.near > (1 - self.settings.enough) ** 2 * self.was)
        self.was = torch.where(over, self.near, self.was)
        return done, self._anew(over)


@dataclass(eq=False)
class Linf(Plan):
    """sum max(|delta_i| - tau, 0) + c f; tau falls as long as f can be met (sec. VI-C).

    Ours: after the first tau that cannot be met, tau is bisected between it and the least one met.
    """

    tau: Tensor = field(metadata={"start": torch.inf})
    met: Tensor = field(metadata={"start": torch.inf})
    missed: Tensor = field(metadata={"start": 0.0})

    def pull(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        """Only what sticks out of the cube of half-width tau counts."""
        beyond = delta.abs() - balls.rows(self.tau, delta)
        return beyond.clamp(min=0).flatten(1).sum(1), delta.sign() * (beyond > 0)

    def drawn(self, hit: Tensor, delta: Tensor) -> Tensor:
        """Hits inside of the cube: they say where the next one is."""
        return hit & (balls.size(delta, "linf") <= self.tau)

    def told(
        self, hit: Tensor, delta: Tensor, slope: Tensor, loss: Tensor
    ) -> tuple[Tensor, Tensor]:
        """A smaller tau where this one was met; a larger c where it was not."""
        size = balls.size(delta, "linf")
        met = self.drawn(hit, delta)
        late, fell = self._late(hit, loss)
        late = late & ~met
        # where f was met outside of the cube, a larger c only pushes farther out
        gone = late & (fell | (2 * self.c > self.settings.largest_c))
        self.met = torch.where(met, size, self.met)
        self.missed = torch.where(gone, self.tau, self.missed)
        lower = (self.c / 8).clamp(min=self.settings.initial_c)  # not from the beginning again
        self.c = torch.where(gone, lower, torch.where(late, 2 * self.c, self.c))
        less = self.settings.decrease * self.met
        tau = torch.where(self.missed > 0, (self.met + self.missed) / 2, less)
        self.tau = torch.where(met | gone, tau, self.tau)
        done = (self.met * 0.99 <= self.missed) | (gone & self.met.isinf())
        return done, self._anew(met | late)


@dataclass(eq=False)
class L0(Plan):
    """|delta|^2 + c f over the free features; at every hit those that matter least are frozen.

    Which matter is told by g_i delta_i, g the gradient of f at the hit (sec. VI-B), where ours takes
    for delta_i the farthest change that helps: a hit may use little of what a feature can do, and
    on linear models the result is the minimum. As in the authors' code 0.3 sqrt(changed features)
    are frozen at once, one at least, and with them all that changed by less than 1e-4.
    """

    free: Tensor = field(metadata={"start": None})
    down: Tensor = field(metadata={"start": None})
    up: Tensor = field(metadata={"start": None})

    def begin(self, short: Tensor, slope: Tensor, reach: tuple[Tensor, Tensor]) -> None:
        """How far features can go is needed to tell what they can add."""
        self.down, self.up = reach

    def held(self, adv: Tensor, start: Tensor) -> Tensor:
        """Frozen features are as they were."""
        return torch.where(self.free > 0, adv, start)

    def told(
        self, hit: Tensor, delta: Tensor, slope: Tensor, loss: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Fewer free features where the goal was reached; a larger c where it was not."""
        late = self._late(hit, loss)[0] & ~hit
        gain = torch.maximum(slope * self.up, slope * self.down)
        size = delta.abs().flatten(1) * self.free.flatten(1)
        changed = size > 1e-4
        count = changed.sum(1)
        frozen = (0.3 * count.sqrt()).floor().clamp(min=1)
        rank = gain.flatten(1).masked_fill(~changed, torch.inf).argsort(1).argsort(1)
        stay = changed & (rank >= frozen.unsqueeze(1))
        fewer = torch.where(hit.unsqueeze(1), stay.to(size.dtype), self.free.flatten(1))
        self.free = fewer.view_as(self.free)
        gone = late & (2 * self.c > self.settings.largest_c)
        self.c = torch.where(late, 2 * self.c, self.c)
        return gone | (hit & (count <= 1)), self._anew(hit | late)


PLANS: dict[str, type[Plan]] = {"l2": L2, "linf": Linf, "l0": L0}


@dataclass(frozen=True, eq=False)
class DrawBack:
    """Looks for hits nearer to the clean input than a known one, by `tries` forward passes.

    Attributes:
        target: the model.
        confidence: least margin of a hit.
        tries: passes.
        cut: whether the largest changes are cut off, which lowers Linf fastest; else the search is
            on the line between both inputs.
    """

    target: Gradients
    confidence: float
    tries: int
    cut: bool = False

    def __call__(
        self, goal: AwayFrom, x: Tensor, adv: Tensor, ends: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Inputs no farther from `x` than `adv`, and their margins; `ends` are those of both."""
        box, margin = of_box(self.target.space), ends[1]
        search = Segments.between(ends[0] - self.confidence, margin - self.confidence)
        whole, best = box.units(adv - x), adv
        wide = balls.rows(balls.size(whole, "linf"), x)
        for _ in range(self.tries if len(x) else 0):
            share = balls.rows(search.probe, x)
            part = whole.clamp(-share * wide, share * wide) if self.cut else share * whole
            point = box.within(x + box.scaled(part), x)
            now = goal.margin(self.target.scores(point))
            search = search.told(now - self.confidence)
            hit = now > self.confidence
            best = torch.where(balls.rows(hit, x) > 0, point, best)
            margin = torch.where(hit, now, margin)
        return best, margin
