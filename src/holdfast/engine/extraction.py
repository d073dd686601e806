"""Run an extraction attack: how well its copies agree with the target, by queries spent."""

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable, QueriesSpent
from holdfast.core.kinds import ExtractionAttack
from holdfast.core.recipe import Background
from holdfast.core.record import Measurement
from holdfast.core.run import Run
from holdfast.core.space import Box
from holdfast.core.target import Scores
from holdfast.engine.case import Case, Evidence, rate
from holdfast.engine.evasion import answers
from holdfast.engine.ledger import Ledger, view
from holdfast.engine.measure import InBatches

LEAST = 40
"""Fewer held-out rows leave no pool or nothing to judge on."""
MOST_POOL = 2000
"""Inputs the attacker has, at most."""


@dataclass(frozen=True, eq=False)
class Copy:
    """A copy, and the rows that the target had answered when it was made."""

    copy: Scores
    queries: int


def steal(
    method: ExtractionAttack[Any], target: object, pool: Dataset, background: Background, run: Run
) -> tuple[tuple[Copy, ...], Ledger]:
    """All copies that the method makes within the allowance `run.queries`, a total here.

    Pool, answers and copies are in the CPU's memory, wherever the target is.
    """
    ledger = Ledger(run.queries, active=1)
    seen, found = InBatches(view(method, target, ledger), run), list[Copy]()
    try:
        for copy in method.steal(seen, pool, background, run.generator("steal", device="cpu")):
            found.append(Copy(copy, ledger.forwards))
            run.progress(len(found), len(found) + 1)
    except QueriesSpent:
        if not found:
            raise NotApplicable(f"{run.queries} queries are too few for a first copy") from None
    if not found:
        raise NotApplicable("the method made no copy")
    return tuple(found), ledger


def on_cpu(run: Run) -> Run:
    """The same run where copies are."""
    return replace(run, device=torch.device("cpu"))


@dataclass(frozen=True, eq=False)
class Shuffled:
    """The target with its answers dealt out to the wrong rows: nothing can be learned from it."""

    target: Any
    run: Run

    @property
    def space(self) -> Any:
        """Valid inputs are those of the target."""
        return self.target.space

    def scores(self, x: Tensor) -> Tensor:
        """The target's scores in another order of rows."""
        raw: Tensor = self.target.scores(x)
        return raw[self.run.order(len(raw), "shuffle", len(raw))]

    def decode(self, raw: Tensor) -> Tensor:
        """As the target decodes."""
        told: Tensor = self.target.decode(raw)
        return told

    def answer(self, x: Tensor) -> Tensor:
        """The target's answers in another order of rows."""
        told: Tensor = self.target.answer(x)
        return told[self.run.order(len(told), "shuffle", len(told))]


def assess(method: ExtractionAttack[Any], case: Case, run: Run) -> Evidence:
    """Agreement of the copies with the target on held-out rows that were never asked about.

    One half of the held-out rows, without labels, is the attacker's pool; the other half judges.
    Beside every copy stands one made in the same way from answers dealt out to the wrong rows, and
    the share of rows on which always giving the commonest answer would agree.
    """
    target = cast(Scores, case.target)
    case.rows()
    if len(case.test) < LEAST:
        raise NotApplicable(f"needs {LEAST} held-out rows")
    order, here = run.order(len(case.test), "pool"), on_cpu(run)
    half = min(MOST_POOL, len(order) // 2)
    pool, judged = case.test.take(order[:half]), case.test.take(order[half:])
    blind = pool.with_rows(pool.x, torch.zeros_like(pool.y))  # the labels are not the attacker's
    copies, ledger = steal(method, case.target, blind, case.background(), run)
    told = answers(target, judged.x, run)
    same = [told == answers(c.copy, judged.x, here) for c in copies]
    best, final = copies[-1], answers(copies[-1].copy, judged.x, here)
    control, _ = steal(method, Shuffled(case.target, run), blind, case.background(), run)
    guess = answers(control[-1].copy, judged.x, here)
    found = [
        rate("clean accuracy", told == judged.y),
        rate("agreement", same[-1]),
        *(
            rate("agreement", s, part=f"queries={c.queries}")
            for s, c in zip(same, copies, strict=True)
        ),
        rate("copy accuracy", final == judged.y),
        *_uniform(target, best, judged, run),
        rate("agreement of the control", told == guess),
        rate("agreement of the commonest answer", told == told.mode().values),
        Measurement("queries", best.queries, 1, best.queries, best.queries),
    ]
    tensors = {
        "queries": torch.tensor([c.queries for c in copies]),
        "agreement": torch.stack([s.float().mean() for s in same]),
    }
    return Evidence(tuple(found), tensors, len(judged), ledger.forwards, ledger.backwards)


def _uniform(target: Scores, best: Copy, like: Dataset, run: Run) -> list[Measurement]:
    """Agreement on inputs drawn evenly from the whole space (Tramer et al. 2016, R_unif)."""
    space = target.space
    if not isinstance(space, Box):
        return []
    low, high = (torch.as_tensor(v).float() for v in (space.low, space.high))
    if not (low.isfinite().all() and high.isfinite().all()):
        return []
    rng = run.generator("uniform", device="cpu")
    x = low + (high - low) * torch.rand(like.tensor.shape, generator=rng)
    same = answers(target, x, run) == answers(best.copy, x, on_cpu(run))
    return [rate("agreement on uniform inputs", same)]
