"""Read policies and decide. Deciding is pure: outcomes, a tier and a day give one verdict."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from holdfast.core import yamlfile
from holdfast.core.errors import InputError
from holdfast.core.policy import Decision, Limit, Reason, Tier, Verdict
from holdfast.core.record import Outcome, Severity, Status

SHIPPED = Path(__file__).parent / "policies"


@dataclass(frozen=True)
class Policy:
    """Tiers by name, and the digest of the file they came from."""

    name: str
    tiers: dict[str, Tier]
    digest: str

    def tier(self, name: str) -> Tier:
        """One risk tier.

        Raises:
            InputError: the policy has no such tier.
        """
        if name not in self.tiers:
            raise InputError(
                f"policy {self.name} has no tier", got=name, fix=f"choose {', '.join(self.tiers)}"
            )
        return self.tiers[name]


class _Limit(BaseModel):
    model_config = ConfigDict(extra="forbid")
    check: str
    measurement: str
    part: str = ""
    at_most: float | None = None
    at_least: float | None = None
    severity: str = "high"


class _Tier(BaseModel):
    model_config = ConfigDict(extra="forbid")
    inherits: str | None = None
    required: list[str] = []
    limits: list[_Limit] = []
    worst: str = "medium"
    max_age_days: int = 90


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    tiers: dict[str, _Tier]


def load_policy(source: str | Path = "default") -> Policy:
    """A shipped policy by name, or a YAML file.

    Raises:
        InputError: no such policy, or not a valid one; says which field.
    """
    shipped = SHIPPED / f"{source}.yaml"
    path = shipped if shipped.is_file() else Path(source)
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.yaml")))
        raise InputError("no such policy", got=source, fix=f"give a YAML file or one of {names}")
    file = yamlfile.validated(_File, yamlfile.read(path), path.name)
    tiers: dict[str, Tier] = {}
    for name, tier in file.tiers.items():
        tiers[name] = _tier(name, tier, tiers)
    return Policy(file.name, tiers, hashlib.sha256(path.read_bytes()).hexdigest())


def decide(tier: Tier, outcomes: Sequence[Outcome], today: date, policy_digest: str) -> Verdict:
    """May the model go live at this tier's risk?

    Blocks when required evidence is missing, not applicable, broken or stale, when a limit does
    not hold, or when a finding is worse than the tier allows. Limits are judged anew here, so an
    old record can be held against a new policy.
    """
    reasons = [*_required(tier, outcomes), *_limits(tier, outcomes), *_findings(tier, outcomes)]
    reasons += [_stale(tier, o, today) for o in outcomes if _age(o, today) > tier.max_age_days]
    reasons += [
        Reason(o.check, f"ended in an error: {o.reason}", True)
        for o in outcomes
        if o.status == Status.ERROR
    ]
    blocks = [r for r in reasons if r.blocks]
    decision = Decision.BLOCK if blocks else Decision.ALLOW
    ordered = tuple(dict.fromkeys([*blocks, *(r for r in reasons if not r.blocks)]))
    return Verdict(decision, tier.name, ordered, policy_digest, today.isoformat())


def _required(tier: Tier, outcomes: Sequence[Outcome]) -> list[Reason]:
    """`a | b` is satisfied by either; a check counts when it was run to its end."""
    reasons = []
    for need in tier.required:
        choices = [c.strip() for c in need.split("|")]
        seen = [o for o in outcomes if o.check in choices or o.method in choices]
        run = (Status.PASSED, Status.FAILED, Status.MEASURED)
        if any(o.record is not None and o.status in run for o in seen):
            continue
        why = "; ".join(f"{o.check} is {o.status}: {o.reason}" for o in seen) or "it was not run"
        reasons.append(Reason(need, f"required evidence is missing: {why}", True))
    return reasons


def _limits(tier: Tier, outcomes: Sequence[Outcome]) -> list[Reason]:
    reasons = []
    for limit in tier.limits:
        for outcome in outcomes:
            if outcome.record is None or not limit.concerns(outcome.check, outcome.method):
                continue
            for measured in limit.select(outcome.record):
                if measured is None:
                    reasons.append(Reason(outcome.check, f"{limit}; it was not measured", True))
                    continue
                holds = limit.holds(measured.value)
                blocks = limit.severity > tier.worst and not holds
                word = "holds with" if holds else "broken with"
                text = f"{limit}; {word} {measured}"
                reasons.append(Reason(outcome.check, text, blocks, holds))
    return reasons


def _findings(tier: Tier, outcomes: Sequence[Outcome]) -> list[Reason]:
    """What scanners found by themselves; broken limits are judged above."""
    return [
        Reason(o.check, f"{f.severity.name.lower()}: {f.title} ({f.where or f.rule})", True)
        for o in outcomes
        for f in (o.record.findings if o.record else ())
        if f.severity > tier.worst
    ]


def _age(outcome: Outcome, today: date) -> int:
    if outcome.record is None:
        return 0
    return (today - datetime.fromisoformat(outcome.record.started).date()).days


def _stale(tier: Tier, outcome: Outcome, today: date) -> Reason:
    text = f"evidence is {_age(outcome, today)} days old, more than {tier.max_age_days}"
    return Reason(outcome.check, text, True)


def _tier(name: str, tier: _Tier, known: dict[str, Tier]) -> Tier:
    """A tier adds to the one it inherits from; a limit on the same thing replaces the inherited one."""
    base = known.get(tier.inherits) if tier.inherits else None
    if tier.inherits and base is None:
        raise InputError(
            f"tier {name} inherits from", got=tier.inherits, fix="name a tier written above it"
        )
    limits = {(x.check, x.measurement, x.part): x for x in (base.limits if base else ())}
    limits |= {(x.check, x.measurement, x.part): _limit(x) for x in tier.limits}
    required = dict.fromkeys([*(base.required if base else ()), *tier.required])
    return Tier(
        name, tuple(limits.values()), tuple(required), _severity(tier.worst), tier.max_age_days
    )


def _limit(raw: _Limit) -> Limit:
    told: dict[str, Any] = raw.model_dump()
    if raw.at_least is None and raw.at_most is None:
        raise InputError(
            f"a limit on {raw.measurement}", got="no bound", fix="give at_least or at_most"
        )
    return Limit(**{**told, "severity": _severity(raw.severity)})


def _severity(word: str) -> Severity:
    if word.upper() not in Severity.__members__:
        words = ", ".join(s.name.lower() for s in Severity)
        raise InputError("a severity", got=word, fix=f"choose one of {words}")
    return Severity[word.upper()]
