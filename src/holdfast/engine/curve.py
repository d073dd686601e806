"""Judge an evasion attack on a classifier: its security curve, controls, parts and examples."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Self, cast

import torch
from torch import Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.core.goal import AwayFrom, ToClass
from holdfast.core.kinds import EvasionAttack, Judging, Learner
from holdfast.core.method import items
from holdfast.core.record import Measurement
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.core.target import Answers
from holdfast.engine import transfer
from holdfast.engine.case import Case, Evidence, on, rate
from holdfast.engine.evasion import Attacked, answers, attack
from holdfast.engine.tally import Costs, plus
from holdfast.ops.rows import padded, pick, put

_ITEMS = {"Tensor": "inputs of one shape", "Ragged": "inputs of varying length"}


def assess(method: EvasionAttack[Any], case: Case, run: Run) -> Evidence:
    """Security curve of a classifier: robust accuracy at every budget of the threat model.

    Only rows that the clean model gets right are attacked, and a row that falls at one budget has
    fallen at all larger ones. A minimising method is run once, without a bound, and its distances
    give the curve. Random noise of the same size stands beside every budget as a control.
    Where the attacker wants one class, its own rows are left out, and the rates count the rows that
    are not answered as that class.
    """
    measure, budgets = case.budgets(method.measures)
    case, notes = transfer.prepared(method, case, run)
    if type(case.test.x).__name__ != items(type(method)):
        raise NotApplicable(f"works on {_ITEMS[items(type(method))]}, which this data set is not")
    if case.test.y.ndim == 2:  # transcripts
        from holdfast.engine import sequence

        return sequence.assess(method, case, run)
    if case.test.y.ndim > 2:
        raise NotApplicable("labels every pixel; this runner judges one answer per row")
    target, data, wanted = cast(Answers[Any], case.target), case.test, case.wanted()
    right = answers(target, data.x, run) == data.y
    rows = (right if wanted is None else right & (data.y != wanted)).nonzero().flatten()
    labels = data.y[rows]
    goal = AwayFrom(labels) if wanted is None else ToClass(torch.full_like(labels, wanted))
    method = _learnt(method, case, run)
    fallen = _Fallen.of(pick(data.x, rows), goal)
    for eps in (torch.inf,) if method.minimises else budgets:
        left = fallen.radius.isinf().nonzero().flatten()
        clean, aim = pick(fallen.clean, left), goal.take(left)
        got = attack(method, target, clean, aim, Budget(measure, eps), run)
        fallen.add(left, got, None if method.minimises else eps)
    measurements = [rate("clean accuracy", right)]
    for eps in budgets:
        part = f"eps={eps:g}" if measure != "any" else ""
        standing, total = int((fallen.radius > eps).sum()), len(data if wanted is None else rows)
        name, kept = _control(method, target, fallen, Budget(measure, eps), run)
        names = ("robust accuracy", f"accuracy under {name}")
        if wanted is not None:
            names = ("rows not moved to the class", f"rows not moved to the class by {name}")
        measurements += [rate(names[0], standing, total, part), rate(names[1], kept, total, part)]
    measurements += _extra(method, target, fallen, run)
    measurements += _shown(method, data, fallen, labels, run)
    missed = int(fallen.radius.isinf().sum())
    if method.minimises and missed:
        text = f"for {missed} rows the search found no misread input at all; they count as robust"
        notes = (*notes, text)
    shown = fallen.rows[:8]
    tensors = {
        "clean": padded(pick(fallen.clean, shown)), "adversarial": padded(pick(fallen.best, shown)),
        "labels": labels[shown], "answers": answers(target, pick(fallen.best, shown), run),
        "radius": fallen.radius,
    }  # fmt: skip
    return Evidence(
        tuple(measurements), tensors, len(rows), fallen.forwards, fallen.backwards, notes
    )


@dataclass
class _Fallen:
    """What was found over all budgets: each row's best input and the radius at which it fell."""

    clean: Any
    goal: AwayFrom
    best: Any
    radius: Tensor
    stage: list[str]
    spent: Costs = field(default_factory=dict)
    forwards: int = 0
    backwards: int = 0

    @classmethod
    def of(cls, clean: Any, goal: AwayFrom) -> Self:
        """Nothing found yet."""
        return cls(clean, goal, clean, torch.full((len(clean),), torch.inf), [""] * len(clean))

    @property
    def rows(self) -> Tensor:
        """Positions of the rows that fell."""
        return self.radius.isfinite().nonzero().flatten()

    def add(self, left: Tensor, got: Attacked[Any], eps: float | None) -> None:
        """What an attack on the rows `left` found, at budget `eps` or, if None, at its distances."""
        won = got.success.nonzero().flatten()
        self.radius[left[won]] = got.distance[won] if eps is None else eps
        self.best = put(self.best, left[won], pick(got.x, won))
        for row, source in zip(left[won].tolist(), won.tolist(), strict=True):
            self.stage[row] = got.stage[source]
        self.spent = plus(self.spent, got.spent)
        self.forwards, self.backwards = self.forwards + got.forwards, self.backwards + got.backwards


def _learnt(method: EvasionAttack[Any], case: Case, run: Run) -> EvasionAttack[Any]:
    """The attack, after it has learned from the training rows if it does."""
    if not isinstance(method, Learner):
        return method
    return method.learn(on(case.members(), run), run.generator("learn"))


def _shown(
    method: object, data: Dataset, fallen: _Fallen, labels: Tensor, run: Run
) -> Iterator[Measurement]:
    """Whether new inputs show the class that they were made for, where the attack brings a judge."""
    if isinstance(method, Judging):
        told = method.judge(pick(fallen.best, fallen.rows).to(run.device)).cpu()
        yield rate("label kept, says an independent classifier", told == labels[fallen.rows])
        known = method.judge(data.tensor.to(run.device)).cpu()
        yield rate("accuracy of the independent classifier", known == data.y)


def _control(
    method: EvasionAttack[Any], target: Answers[Any], fallen: _Fallen, budget: Budget, run: Run
) -> tuple[str, int]:
    """How many rows stand under random noise of the same size, which is no attack, and its name.

    Where change is not counted there is no such size: the control is the attack's own first try,
    before it could learn anything.
    """
    x, goal = fallen.clean, fallen.goal
    if budget.measure == "any":
        quiet = replace(run.quiet, queries=2)
        got = attack(method, target, x, goal, budget, quiet)
        return "one try", int((~got.success).sum())
    rng = run.generator("control", budget.eps)
    noisy = target.space.random(x.to(run.device), budget, rng)
    reached = goal.degree(answers(target, noisy, run)) >= goal.threshold
    return "random noise", int((~reached).sum())


def _is_unit(space: object) -> bool:
    """Whether inputs are pixels from 0 to 1, as 8-bit files hold them."""
    ends = (space.low, space.high) if isinstance(space, Box) else ()
    return len(ends) == 2 and all(isinstance(v, float | int) for v in ends) and ends == (0, 1)


def _extra(
    method: EvasionAttack[Any], target: Answers[Any], fallen: _Fallen, run: Run
) -> Iterator[Measurement]:
    """What survives as 8-bit pixels, what each part did, and how far the inputs had to move."""
    rows, x = fallen.rows, fallen.clean
    if isinstance(x, Tensor) and x.ndim == 4 and len(rows) and _is_unit(target.space):
        told = answers(target, (fallen.best[rows] * 255).round() / 255, run)
        kept = fallen.goal.take(rows).degree(told) >= fallen.goal.threshold
        yield rate("success kept in 8 bits", kept)
    for part, cost in fallen.spent.items():
        if part:
            hits = sum(stage == part for stage in fallen.stage)
            yield rate("broken", hits, cost.rows, f"stage={part}")
            passes = (cost.forwards + cost.backwards) / max(1, len(fallen.stage))
            yield Measurement("passes per row", passes, len(fallen.stage), part=f"stage={part}")
    if method.minimises and len(rows):
        radius = fallen.radius[rows]
        low, middle, high = (float(radius.quantile(q)) for q in (0.25, 0.5, 0.75))
        yield Measurement("median distance", middle, len(rows), low, high, "quartiles")
