"""Run any evasion attack: batches, seeds, ledger, best-so-far, leaving rows, re-judging."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Generic, cast

import torch
from torch import Tensor
from typing_extensions import TypeVar

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable, QueriesSpent
from holdfast.core.goal import AwayFrom, Goal, ToClass
from holdfast.core.kinds import EvasionAttack, Judging, Learner, Search
from holdfast.core.method import items
from holdfast.core.record import Measurement
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.core.target import Answers
from holdfast.engine import memo, transfer
from holdfast.engine.case import Case, Evidence, on, rate
from holdfast.engine.ledger import Ledger, view
from holdfast.engine.tables import valid
from holdfast.engine.tally import Cost, Costs, Tally, plus
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
    degree, distance = torch.full((n,), -1.0), torch.full((n,), torch.inf)
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
            tally.charge(stage, ledger, rows)
            size = space.distance(candidate.x, around, budget.measure).detach().cpu()
            claimed = candidate.degree.detach().float().cpu()
            nearer = (claimed == degree) & (size < distance)
            better = (size <= limit) & ((claimed > degree) | nearer)
            index = better.nonzero().flatten()
            if len(index):
                best = _put(best, rows[index], pick(candidate.x, index))
                tally.found(stage, rows[index])
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
    degree, distance = torch.full((n,), -1.0), torch.full((n,), torch.inf)
    try:
        while n and ledger.active:
            candidate = search.send(keep)
            stage = candidate.stage
            rows = torch.arange(n) if candidate.rows is None else candidate.rows.cpu()
            tally.charge(stage, ledger, rows)
            size = space.distance(candidate.x, pick(clean, rows), budget.measure).detach().cpu()
            claimed = candidate.degree.detach().float().cpu()
            nearer = (claimed == degree[rows]) & (size < distance[rows])
            inside = size <= bound[rows] * (1 + SLACK) + 1e-9
            index = (inside & ((claimed > degree[rows]) | nearer)).nonzero().flatten()
            best = _put(best, rows[index], pick(candidate.x, index))
            degree[rows[index]], distance[rows[index]] = claimed[index], size[index]
            tally.found(stage, rows[index])
            wanted = degree[rows] < goal.threshold
            ledger.active = int((degree < goal.threshold).sum())
            keep = None if bool(wanted.all()) else wanted.nonzero().flatten()
    except (StopIteration, QueriesSpent):  # the best so far stands
        pass
    finally:
        tally.charge(stage, ledger)
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
    Where the attacker wants one class, its own rows are left out, and the rates count the rows that
    are not answered as that class.
    """
    measure, budgets = case.budgets(method.measures)
    case, notes = transfer.prepared(method, case, run)
    target, data = cast(Answers[Any], case.target), case.test
    if type(data.x).__name__ != items(type(method)):
        raise NotApplicable(f"works on {_ITEMS[items(type(method))]}, which this data set is not")
    if data.y.ndim == 2:  # transcripts
        from holdfast.engine import sequence

        return sequence.assess(method, case, run)
    if data.y.ndim > 2:
        raise NotApplicable("labels every pixel; this runner judges one answer per row")
    right = answers(target, data.x, run) == data.y
    wanted = case.wanted()
    chosen = right if wanted is None else right & (data.y != wanted)
    rows = chosen.nonzero().flatten()
    x: Any = pick(data.x, rows)
    labels = data.y[rows]
    method = _learnt(method, case, run)
    goal = AwayFrom(labels) if wanted is None else ToClass(torch.full_like(labels, wanted))
    total = len(data) if wanted is None else len(rows)
    radius = torch.full((len(rows),), torch.inf)
    best, found = x, Attacked(x, radius, radius, radius, 0, 0, ("",) * len(rows))
    for eps in (torch.inf,) if method.minimises else budgets:
        left = radius.isinf().nonzero().flatten()
        got = attack(method, target, pick(x, left), goal.take(left), Budget(measure, eps), run)
        won = got.success.nonzero().flatten()
        radius[left[won]] = got.distance[won] if method.minimises else eps
        best = put(best, left[won], pick(got.x, won))
        found = _joined(found, got, left[won].tolist(), won.tolist())
    measurements = [rate("clean accuracy", right)]
    for eps in budgets:
        part = f"eps={eps:g}" if measure != "any" else ""
        standing, (name, kept) = (
            int((radius > eps).sum()),
            _control(method, target, x, goal, Budget(measure, eps), run),
        )
        names = ("robust accuracy", f"accuracy under {name}")
        if wanted is not None:
            names = ("rows not moved to the class", f"rows not moved to the class by {name}")
        measurements += [rate(names[0], standing, total, part), rate(names[1], kept, total, part)]
    measurements += _extra(target, x, best, radius, goal, found, run)
    measurements += _shown(method, data, best, labels, radius.isfinite(), run)
    if method.minimises and radius.isfinite().any():
        fallen = radius[radius.isfinite()]
        low, high = (float(fallen.quantile(q)) for q in (0.25, 0.75))
        measurements.append(
            Measurement(
                "median distance", float(fallen.median()), len(fallen), low, high, "quartiles"
            )
        )
    shown = radius.isfinite().nonzero().flatten()[:8]
    tensors = {
        "clean": padded(pick(x, shown)), "adversarial": padded(pick(best, shown)),
        "labels": labels[shown], "answers": answers(target, pick(best, shown), run),
        "radius": radius,
    }  # fmt: skip
    missed = int(radius.isinf().sum())
    if method.minimises and missed:
        text = f"for {missed} rows the search found no misread input at all; they count as robust"
        notes = (*notes, text)
    return Evidence(tuple(measurements), tensors, len(rows), found.forwards, found.backwards, notes)


def _learnt(method: EvasionAttack[Any], case: Case, run: Run) -> EvasionAttack[Any]:
    """The attack, after it has learned from the training rows if it does."""
    if not isinstance(method, Learner):
        return method
    return method.learn(on(case.members(), run), run.generator("learn"))


def _shown(
    method: object, data: Dataset, best: Any, labels: Tensor, fallen: Tensor, run: Run
) -> Iterator[Measurement]:
    """Whether new inputs show the class that they were made for, where the attack brings a judge."""
    if isinstance(method, Judging):
        told = method.judge(best[fallen].to(run.device)).cpu()
        yield rate("label kept, says an independent classifier", told == labels[fallen])
        known = method.judge(data.tensor.to(run.device)).cpu()
        yield rate("accuracy of the independent classifier", known == data.y)


def _joined(
    sofar: Attacked[Any], new: Attacked[Any], at: list[int], won: list[int]
) -> Attacked[Any]:
    """Passes and stages of both; the rows `at` were found by the new one's rows `won`."""
    stage = list(sofar.stage)
    for row, source in zip(at, won, strict=True):
        stage[row] = new.stage[source]
    return replace(
        sofar, stage=tuple(stage), spent=plus(sofar.spent, new.spent),
        forwards=sofar.forwards + new.forwards, backwards=sofar.backwards + new.backwards,
    )  # fmt: skip


def _control(
    method: EvasionAttack[Any],
    target: Answers[Any],
    x: Any,
    goal: AwayFrom,
    budget: Budget,
    run: Run,
) -> tuple[str, int]:
    """How many rows stand under random noise of the same size, which is no attack, and its name.

    Where change is not counted there is no such size: the control is the attack's own first try,
    before it could learn anything.
    """
    if budget.measure == "any":
        quiet = replace(run, queries=2, memo=None, progress=_silent)
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


def _silent(done: int, total: int) -> None:
    """Controls show no progress of their own."""


def _extra(
    target: Answers[Any], x: Any, best: Any, radius: Tensor, goal: AwayFrom, found: Attacked[Any],
    run: Run,
) -> Iterator[Measurement]:  # fmt: skip
    """What survives being stored as 8-bit pixels, and what each part of a composed attack did."""
    fallen = radius.isfinite().nonzero().flatten()
    if isinstance(x, Tensor) and x.ndim == 4 and len(fallen) and _is_unit(target.space):
        told = answers(target, (best[fallen] * 255).round() / 255, run)
        kept = goal.take(fallen).degree(told) >= goal.threshold
        yield rate("success kept in 8 bits", kept)
    for part, cost in found.spent.items():
        if part:
            hits = sum(stage == part for stage in found.stage)
            yield rate("broken", hits, cost.rows, f"stage={part}")
            passes = (cost.forwards + cost.backwards) / max(1, len(found.stage))
            yield Measurement("passes per row", passes, len(found.stage), part=f"stage={part}")
