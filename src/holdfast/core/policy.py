"""Limits and verdicts as data. Deciding is pure: the same outcomes and policy give the same verdict."""

from dataclasses import dataclass
from enum import StrEnum

from holdfast.core.record import Measurement, Record, Severity


@dataclass(frozen=True)
class Limit:
    """A bound on one measurement of one check.

    Attributes:
        check: id of a check, or of a method to mean all of its checks.
        measurement: its name.
        part: which part, such as "eps=0.1"; empty for the whole, "*" for every part there is.
        at_most: upper bound, or None.
        at_least: lower bound, or None.
        severity: of the finding when the bound is broken.
    """

    check: str
    measurement: str
    part: str = ""
    at_most: float | None = None
    at_least: float | None = None
    severity: Severity = Severity.HIGH

    def concerns(self, check: str, method: str) -> bool:
        """Whether this bound is about the check `check` of `method`."""
        return self.check in (check, method)

    def select(self, record: Record) -> tuple[Measurement | None, ...]:
        """The measurements it bounds; (None,) where one that must be there is missing.

        A limit for all checks of a method may name a part that only some of them have.
        """
        found = tuple(
            m
            for m in record.measurements
            if m.name == self.measurement and self.part in ("*", m.part)
        )
        if found or (self.check != record.check and self.check == record.method):
            return found
        return (None,)

    def holds(self, value: float) -> bool:
        """Whether `value` is within the bound; NaN never is."""
        above = self.at_least is None or value >= self.at_least
        below = self.at_most is None or value <= self.at_most
        return above and below

    def __str__(self) -> str:
        part = f" ({self.part})" if self.part not in ("", "*") else ""
        bounds = [f"at least {self.at_least:g}"] if self.at_least is not None else []
        bounds += [f"at most {self.at_most:g}"] if self.at_most is not None else []
        return f"{self.measurement}{part} must be {' and '.join(bounds)}"


@dataclass(frozen=True)
class Tier:
    """What a model of one risk tier has to show.

    Attributes:
        name: low, medium or high.
        limits: bounds on measurements.
        required: ids of checks that must have been run.
        worst: the highest severity of a finding that is still allowed.
        max_age_days: evidence older than this is missing evidence.
    """

    name: str
    limits: tuple[Limit, ...]
    required: tuple[str, ...]
    worst: Severity = Severity.MEDIUM
    max_age_days: int = 90


class Decision(StrEnum):
    """May the model go live?"""

    ALLOW = "allow"
    BLOCK = "block"


@dataclass(frozen=True)
class Reason:
    """One reason of a verdict: the check it rests on and whether it speaks against release.

    Attributes:
        check: id of the check.
        text: what was required and what was found.
        blocks: whether it alone stops the release.
        holds: false where a limit is broken, also by no more than the tier allows.
    """

    check: str
    text: str
    blocks: bool
    holds: bool = False


@dataclass(frozen=True)
class Verdict:
    """The answer to 'may it go live', with every reason.

    Attributes:
        decision: allow or block.
        tier: the risk tier judged for.
        reasons: those against release first.
        policy_digest: sha256 of the policy that decided.
        decided: ISO date.
    """

    decision: Decision
    tier: str
    reasons: tuple[Reason, ...]
    policy_digest: str
    decided: str
