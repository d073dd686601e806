"""One assessment: finished checks are taken from the store, the others run, all are judged."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from torch import Tensor

from holdfast.assess import judge
from holdfast.assess.execute import Opened, key
from holdfast.assess.plan import Check, Plan
from holdfast.core.policy import Limit
from holdfast.core.record import Outcome, Record, Status


@dataclass(frozen=True)
class Result:
    """What running one check came to: a record with its tensors, a reason, or an error."""

    record: Record | None = None
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    reason: str = ""
    error: str = ""


class Keeper(Protocol):
    """The part of the store that an assessment needs."""

    def get(self, key: str) -> Record | None: ...
    def add(self, record: Record) -> None: ...
    def put_tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, str]: ...


Runner = Callable[[Sequence[Check]], Iterator[tuple[Check, Result]]]
"""Runs checks in any order and gives each one's result as it is finished."""


def assess(
    plan: Plan,
    opened: Opened,
    seed: int,
    keeper: Keeper,
    runner: Runner,
    told: Callable[[Check, Result], None],
) -> dict[str, Result]:
    """Results by check id; every record is kept before `told` hears of it.

    A check whose key is in the store is not run again, so a killed assessment goes on where it was.
    """
    results: dict[str, Result] = {}
    missing = []
    for check in plan.checks:
        record = keeper.get(key(check, opened, seed))
        if record is None:
            missing.append(check)
        else:  # a record about training may have been made for another model of the same recipe
            results[check.id] = Result(replace(record, subject=opened.subject))
            told(check, results[check.id])
    for check, result in runner(missing):
        if result.record is not None:
            record = replace(result.record, tensors=keeper.put_tensors(result.tensors))
            keeper.add(record)
            result = Result(record)
        results[check.id] = result
        told(check, result)
    return results


def outcomes(
    plan: Plan,
    results: Mapping[str, Result],
    titles: Mapping[str, str],
    limits: Sequence[Limit],
    options: str = "",
) -> tuple[Outcome, ...]:
    """Judge all results, in the plan's order; `options` name the model on a command line."""
    judged = []
    for check in plan.checks:
        result, title = results[check.id], titles.get(check.method, check.method)
        if result.record is not None:
            judged.append(judge.judge(result.record, title, limits, options))
        else:
            status = Status.ERROR if result.error else Status.NOT_APPLICABLE
            reason = result.error or result.reason
            judged.append(judge.unjudged(check.id, check.method, title, status, reason))
    return tuple(judged)
