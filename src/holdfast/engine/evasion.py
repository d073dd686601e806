"""Run any evasion attack: batches, seeds, ledger, best-so-far, leaving rows, re-judging."""

from dataclasses import dataclass, field
from typing import Any, Generic

import torch
from torch import Tensor
from typing_extensions import TypeVar

from holdfast.core.errors import QueriesSpent
from holdfast.core.goal import Goal
from holdfast.core.kinds import EvasionAttack, Search
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.core.target import Answers
from holdfast.engine import memo
from holdfast.engine.ledger import Ledger, view
from holdfast.engine.tables import valid
from holdfast.engine.tally import Cost, Costs, Tally, plus
from holdfast.ops.rows import concat, padded, pick, put, take

X = TypeVar("X", default=Tensor)
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
        stage: the part of a composed attack that made each row's best input, "" where none did.
        spent: what each part of a composed attack cost, "" for one that is not composed.
    """

    x: X
    degree: Tensor
    success: Tensor
    distance: Tensor
    forwards: int
    backwards: int
    stage: tuple[str, ...] = ()
    spent: Costs = field(default_factory=dict)


def attack(
    method: EvasionAttack[Any, X, Any, Any], target: Answers[X, Any], x: X, goal: Goal[Any, Any],
    budget: Budget, run: Run,
) -> Attacked[X]:  # fmt: skip
    """Attack every row of `x`; what counts is a fresh forward pass, not the attack's word.

    Batches that `run.memo` holds from an earlier, interrupted run are not attacked again.
    """
    found: list[Any] = []
    stages: list[str] = []
    spent: Costs = {}
    total = len(x)  # type: ignore[arg-type]  # tensors and ragged batches both have a length
    size = max(total, 1) if method.pools else run.batch_size
    for start in range(0, max(total, 1), size):
        index = torch.arange(start, min(start + size, total))
        clean, aim, room = pick(x, index), goal.take(index), budget.take(index)
        name = memo.name(method, clean, aim, room, run, start) if run.memo else ""
        kept = run.memo.get(name) if run.memo else None
        if kept is None:
            ledger, tally = Ledger(run.queries, active=len(index)), Tally(len(index))
            clean, aim, room = clean.to(run.device), aim.to(run.device), room.to(run.device)
            rng = run.generator("attack", start)
            seen = view(method, target, ledger)
            search = method.run(seen, clean, aim, room, rng)
            search = valid(search, seen, target.space, clean, aim, room)
            follow = _follow_pool if method.pools else _follow
            best = follow(search, clean, aim, room, target.space, ledger, tally).to("cpu")
            kept = memo.pack(best, tally.stage, tally.costs())
            if run.memo:
                run.memo.put(name, kept)
        best, stage, cost = memo.unpack(kept)
        found.append(best)
        stages += stage
        spent = plus(spent, cost)
        run.progress(min(start + size, total), total)
    best = concat(found)
    degree = _judge(target, best, goal, run)
    distance = target.space.distance(best, x, budget.measure)
    whole = sum(spent.values(), Cost())
    return Attacked(
        best, degree, degree >= goal.threshold, distance, whole.forwards, whole.backwards,
        tuple(stages), spent,
    )  # fmt: skip


def _follow(
    search: Search[Any],
    clean: Any,
    goal: Goal[Any, Any],
    budget: Budget,
    space: Any,
    ledger: Ledger,
    tally: Tally,
) -> Any:
    """Drive one attack to its end, keeping per row the largest degree, then the smallest distance."""
    n = len(clean)
    best = clean.clone() if isinstance(clean, Tensor) else clean
    bound = torch.as_tensor(budget.eps, dtype=torch.float32).cpu().expand(n)
    # of the rows that the attack still works on: position, clean input, best so far, and room
    rows, around, keep = torch.arange(n), clean, None
    degree, distance = torch.zeros(n), torch.full((n,), torch.inf)
    limit, endless = bound * (1 + SLACK) + 1e-9, bound.isinf()
    stage = ""
    try:
        while n:
            candidate = search.send(keep)
            stage = candidate.stage
            if keep is not None and len(candidate.x) == len(keep):
                rows, around, degree, distance, limit, endless = take(
                    keep, rows, around, degree, distance, limit, endless
                )
                keep = None
            tally.charge(stage, ledger, rows)
            claimed = candidate.degree.detach().float().cpu()
            index = _hopeful(claimed, degree, goal)
            if not len(index):  # nothing is measured of rows that are no better than before
                continue
            size = _size(space, pick(candidate.x, index), pick(around, index), budget)
            nearer = (claimed[index] > degree[index]) | (size < distance[index])
            better = (size <= limit[index]) & nearer
            index, size = index[better], size[better]
            best = _put(best, rows[index], pick(candidate.x, index))
            tally.found(stage, rows[index])
            degree, distance = put(degree, index, claimed[index]), put(distance, index, size)
            # nothing is nearer than no change at all
            wanted = (degree < goal.threshold) | (endless & (distance > 0))
            ledger.active = int(wanted.sum())
            if not ledger.active:
                break
            keep = None if ledger.active == len(wanted) else wanted.nonzero().flatten()
    except (StopIteration, QueriesSpent):  # the best so far stands
        pass
    finally:
        tally.charge(stage, ledger)
        search.close()
    return space.project(best, clean, budget)


def _follow_pool(
    search: Search[Any],
    clean: Any,
    goal: Goal[Any, Any],
    budget: Budget,
    space: Any,
    ledger: Ledger,
    tally: Tally,
) -> Any:
    """Drive an attack that pools rows: each candidate is for the rows that it names."""
    n, stage, keep = len(clean), "", None
    best = clean.clone() if isinstance(clean, Tensor) else clean
    bound = torch.as_tensor(budget.eps, dtype=torch.float32).cpu().expand(n)
    degree, distance = torch.zeros(n), torch.full((n,), torch.inf)
    limit = bound * (1 + SLACK) + 1e-9
    try:
        while n and ledger.active:
            candidate = search.send(keep)
            stage = candidate.stage
            rows = torch.arange(n) if candidate.rows is None else candidate.rows.cpu()
            tally.charge(stage, ledger, rows)
            claimed = candidate.degree.detach().float().cpu()
            index = _hopeful(claimed, degree[rows], goal)
            at = rows[index]
            size = _size(space, pick(candidate.x, index), pick(clean, at), budget)
            nearer = (claimed[index] > degree[at]) | (size < distance[at])
            better = (size <= limit[at]) & nearer
            index, at, size = index[better], at[better], size[better]
            best = _put(best, at, pick(candidate.x, index))
            degree[at], distance[at] = claimed[index], size
            tally.found(stage, at)
            wanted = degree[rows] < goal.threshold
            ledger.active = int((degree < goal.threshold).sum())
            keep = None if bool(wanted.all()) else wanted.nonzero().flatten()
    except (StopIteration, QueriesSpent):  # the best so far stands
        pass
    finally:
        tally.charge(stage, ledger)
        search.close()
    return space.project(best, clean, budget)


def _hopeful(claimed: Tensor, degree: Tensor, goal: Goal[Any, Any]) -> Tensor:
    """Positions of rows that claim more than before, or as much and have reached the goal."""
    return (
        ((claimed > degree) | ((claimed == degree) & (claimed >= goal.threshold)))
        .nonzero()
        .flatten()
    )


def _size(space: Any, x: Any, around: Any, budget: Budget) -> Tensor:
    """Distance of every row, (N,), NaN where a feature is infinite or NaN.

    Such a row lies nowhere. A count of changes, and "any", would not show it, and models answer NaN
    as some other class.
    """
    size: Tensor = space.distance(x, around, budget.measure).detach().float()
    lost = size.isinf()
    if budget.measure in ("l0", "any"):
        lost = lost | ~padded(x).detach().flatten(1).isfinite().all(1)
    return size.masked_fill(lost, torch.nan).cpu()


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
