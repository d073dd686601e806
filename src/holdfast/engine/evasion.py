"""Run any evasion attack: batches, seeds, ledger, best-so-far, leaving rows, re-judging."""

from dataclasses import dataclass
from typing import Any, Generic, cast

import torch
from torch import Tensor
from typing_extensions import TypeVar

from holdfast.core.errors import NotApplicable, QueriesSpent
from holdfast.core.goal import AwayFrom, Goal
from holdfast.core.kinds import EvasionAttack, Search
from holdfast.core.method import items
from holdfast.core.record import Measurement
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.core.target import Answers
from holdfast.engine.case import Case, Evidence, rate
from holdfast.engine.ledger import Ledger, view
from holdfast.ops.rows import concat, padded, pick, put, take

X = TypeVar("X", default=Tensor)
_ITEMS = {"Tensor": "inputs of one shape", "Ragged": "inputs of varying length"}
SLACK = 1e-4
"""Relative room for rounding when a candidate's distance is compared with its budget."""


@dataclass(frozen=True, eq=False)
class Attacked(Generic[X]):
    """The engine's own findings about every row.

    Attributes:
        x: best inputs, valid and within budget; the clean input where nothing was found.
        degree: how far the goal is reached, by a fresh forward pass.
        success: degree at or above the goal's threshold.
        distance: from the clean input, in the budget's measure.
        forwards: rows the attack sent forward.
        backwards: rows it sent backward.
    """

    x: X
    degree: Tensor
    success: Tensor
    distance: Tensor
    forwards: int
    backwards: int


def attack(
    method: EvasionAttack[Any, X, Any, Any], target: Answers[X, Any], x: X, goal: Goal[Any, Any],
    budget: Budget, run: Run,
) -> Attacked[X]:  # fmt: skip
    """Attack every row of `x`; what counts is a fresh forward pass, not the attack's word."""
    found: list[Any] = []
    forwards = backwards = 0
    total = len(x)  # type: ignore[arg-type]  # tensors and ragged batches both have a length
    for start in range(0, max(total, 1), run.batch_size):
        index = torch.arange(start, min(start + run.batch_size, total))
        clean, aim, room = (
            pick(x, index).to(run.device),
            goal.take(index).to(run.device),
            budget.take(index).to(run.device),
        )
        ledger = Ledger(run.queries, active=len(index))
        search = method.run(
            view(method, target, ledger), clean, aim, room, run.generator("attack", start)
        )
        found.append(_follow(search, clean, aim, room, target.space, ledger).to("cpu"))
        forwards, backwards = forwards + ledger.forwards, backwards + ledger.backwards
        run.progress(min(start + run.batch_size, total), total)
    best = concat(found)
    degree = _judge(target, best, goal, run)
    distance = target.space.distance(best, x, budget.measure)
    return Attacked(best, degree, degree >= goal.threshold, distance, forwards, backwards)


def _follow(
    search: Search[Any],
    clean: Any,
    goal: Goal[Any, Any],
    budget: Budget,
    space: Any,
    ledger: Ledger,
) -> Any:
    """Drive one attack to its end, keeping per row the largest degree, then the smallest distance."""
    n = len(clean)
    best = clean.clone() if isinstance(clean, Tensor) else clean
    bound = torch.as_tensor(budget.eps, dtype=torch.float32).cpu().expand(n)
    # of the rows that the attack still works on: position, clean input, best so far, and room
    rows, around, keep = torch.arange(n), clean, None
    degree, distance = torch.full((n,), -1.0), torch.full((n,), torch.inf)
    limit, endless = bound * (1 + SLACK) + 1e-9, bound.isinf()
    try:
        while n:
            candidate = search.send(keep)
            if keep is not None and len(candidate.x) == len(keep):
                rows, around, degree, distance, limit, endless = take(
                    keep, rows, around, degree, distance, limit, endless
                )
            size = space.distance(candidate.x, around, budget.measure).detach().cpu()
            claimed = candidate.degree.detach().float().cpu()
            nearer = (claimed == degree) & (size < distance)
            better = (size <= limit) & ((claimed > degree) | nearer)
            index = better.nonzero().flatten()
            if len(index):
                best = _put(best, rows[index], pick(candidate.x, index))
                degree = torch.where(better, claimed, degree)
                distance = torch.where(better, size, distance)
            wanted = (degree < goal.threshold) | endless
            ledger.active = int(wanted.sum())
            if not ledger.active:
                break
            keep = None if ledger.active == len(wanted) else wanted.nonzero().flatten()
    except (StopIteration, QueriesSpent):  # the best so far stands
        pass
    finally:
        search.close()
    return space.project(best, clean, budget)


def _put(best: Any, index: Tensor, new: Any) -> Any:
    """`best` with other rows at `index`: the same tensor, or another ragged batch."""
    if isinstance(best, Tensor):
        return best.index_copy_(0, index.to(best.device), new.detach().to(best.dtype))
    return put(best, index, new)


def _judge(target: Any, x: Any, goal: Goal[Any, Any], run: Run) -> Tensor:
    """Degree of every row by fresh, uncounted forward passes."""
    parts = []
    for start in range(0, len(x), run.batch_size):
        index = torch.arange(start, min(start + run.batch_size, len(x)))
        aim = goal.take(index).to(run.device)
        parts.append(aim.degree(target.answer(pick(x, index).to(run.device))).cpu())
    return torch.cat(parts) if parts else torch.zeros(0)


def answers(target: Answers[Any, Any], x: Any, run: Run) -> Tensor:
    """Answers of a classifier to all rows, batched, uncounted."""
    parts = []
    for start in range(0, len(x), run.batch_size):
        index = torch.arange(start, min(start + run.batch_size, len(x)))
        parts.append(target.answer(pick(x, index).to(run.device)).cpu())
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.long)


def assess(method: EvasionAttack[Any], case: Case, run: Run) -> Evidence:
    """Security curve of a classifier: robust accuracy at every budget of the threat model.

    Only rows that the clean model gets right are attacked, and a row that falls at one budget has
    fallen at all larger ones. A minimising method is run once, without a bound, and its distances
    give the curve. Random noise of the same size stands beside every budget as a control.
    """
    target, data = cast(Answers[Any], case.target), case.test
    measure, budgets = case.budgets(method.measures)
    if type(data.x).__name__ != items(type(method)):
        raise NotApplicable(f"works on {_ITEMS[items(type(method))]}, which this data set is not")
    if data.y.ndim == 2:  # transcripts
        from holdfast.engine import sequence

        return sequence.assess(method, case, run)
    if data.y.ndim > 2:
        raise NotApplicable("labels every pixel; this runner judges one answer per row")
    right = answers(target, data.x, run) == data.y
    rows = right.nonzero().flatten()
    x: Any = pick(data.x, rows)
    goal = AwayFrom(data.y[rows])
    radius = torch.full((len(rows),), torch.inf)
    best = x
    forwards = backwards = 0
    for eps in (torch.inf,) if method.minimises else budgets:
        left = radius.isinf().nonzero().flatten()
        got = attack(method, target, pick(x, left), goal.take(left), Budget(measure, eps), run)
        won = got.success.nonzero().flatten()
        radius[left[won]] = got.distance[won] if method.minimises else eps
        best = put(best, left[won], pick(got.x, won))
        forwards, backwards = forwards + got.forwards, backwards + got.backwards
    measurements = [rate("clean accuracy", right)]
    for eps in budgets:
        part = f"eps={eps:g}"
        measurements.append(rate("robust accuracy", int((radius > eps).sum()), len(data), part))
        rng = run.generator("control", eps)
        noisy = target.space.random(x.to(run.device), Budget(measure, eps), rng)
        kept = int((answers(target, noisy, run) == goal.labels).sum())
        measurements.append(rate("accuracy under random noise", kept, len(data), part))
    fallen = radius[radius.isfinite()]
    if method.minimises and len(fallen):
        low, high = (float(fallen.quantile(q)) for q in (0.25, 0.75))
        measurements.append(
            Measurement(
                "median distance", float(fallen.median()), len(fallen), low, high, "quartiles"
            )
        )
    shown = radius.isfinite().nonzero().flatten()[:8]
    tensors = {
        "clean": padded(pick(x, shown)), "adversarial": padded(pick(best, shown)),
        "labels": goal.labels[shown], "answers": answers(target, pick(best, shown), run),
        "radius": radius,
    }  # fmt: skip
    missed = int(radius.isinf().sum())
    notes = (
        (f"for {missed} rows the search found no misread input at all; they count as robust",)
        if method.minimises and missed
        else ()
    )
    return Evidence(tuple(measurements), tensors, len(rows), forwards, backwards, notes)
