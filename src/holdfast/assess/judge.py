"""From a record to an outcome: limits are compared, broken ones become findings. Runs nothing."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import yaml
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from holdfast.core.method import REGISTRY
from holdfast.core.policy import Limit
from holdfast.core.record import (
    Finding,
    Measurement,
    Outcome,
    Property,
    Record,
    Severity,
    Stage,
    Status,
)


@dataclass(frozen=True)
class Threat:
    """What a broken limit of a method means, from `threats.yaml`."""

    title: str
    detail: str
    property: Property
    stage: Stage
    refs: tuple[str, ...]
    remedies: tuple[str, ...]


@cache
def threats() -> dict[str, Threat]:
    """All known threats by method id or domain."""
    body = yaml.safe_load((Path(__file__).parent / "threats.yaml").read_text(encoding="utf-8"))
    return TypeAdapter(dict[str, Threat]).validate_python(body)


def threat(method: str) -> Threat:
    """The threat that a method stands for: its own entry, else its domain's."""
    domain = method.split("/", 1)[0]
    return threats().get(method) or threats().get(domain) or threats()["trust"]


def judge(record: Record, title: str, limits: Sequence[Limit], options: str = "") -> Outcome:
    """Compare a record with the limits that name its check or method.

    A limit whose measurement is missing from the record breaks it: no evidence is never a pass.
    Without any limit a check is merely measured, but a scanner passes when it found nothing worse
    than low severity.

    Args:
        record: the evidence.
        title: the method's title.
        limits: bounds of a tier.
        options: how the model is named on a command line, for what to run next.
    """
    findings = [_with_command(f, options) for f in record.findings]
    reasons = [f.title for f in record.findings if f.severity >= Severity.MEDIUM]
    own = [limit for limit in limits if limit.concerns(record.check, record.method)]
    for limit in own:
        for measured in limit.select(record):
            if measured is None or not limit.holds(measured.value):
                findings.append(_with_command(_broken(record, limit, measured), options))
                got = f"got {measured}" if measured else "not measured"
                reasons.append(f"{limit}, {got}")
    calm = Status.PASSED if own or record.kind == "Scanner" else Status.MEASURED
    status = Status.FAILED if reasons else calm
    return Outcome(
        record.check,
        record.method,
        title,
        status,
        "; ".join(reasons),
        tuple(findings),
        record,
        threat(record.method).property,
        threat(record.method).stage,
    )


def unjudged(check: str, method: str, title: str, status: Status, reason: str) -> Outcome:
    """A check without a record: not applicable to this model, or it broke; never a pass."""
    known = threat(method)
    return Outcome(check, method, title, status, reason, property=known.property, stage=known.stage)


def _broken(record: Record, limit: Limit, measured: Measurement | None) -> Finding:
    known = threat(record.method)
    got = f"Measured: {measured}." if measured else "It was not measured."
    part = measured.part if measured else limit.part
    slug = "-".join([*limit.measurement.split(), *part.split()])
    return Finding(
        rule=f"{record.check}/{slug}",
        severity=limit.severity,
        title=known.title,
        detail=f"{known.detail} The limit: {limit}. {got}",
        where=record.subject.model,
        property=known.property,
        stage=known.stage,
        evidence=_evidence(record, measured),
        refs=known.refs,
        remedies=known.remedies,
    )


def _evidence(record: Record, measured: Measurement | None) -> tuple[Measurement, ...]:
    """The measurement itself, then the others of the same part, which hold the controls."""
    if measured is None:
        return ()
    others = [m for m in record.measurements if m.part == measured.part and m is not measured]
    return (measured, *others[:5])


def _with_command(finding: Finding, options: str) -> Finding:
    """Training anew when a remedy does that and the model is known, else a look at the remedy."""
    if finding.command or not finding.remedies:
        return finding
    trains = [
        r for r in finding.remedies if r in REGISTRY and REGISTRY[r].kind == "TrainingDefence"
    ]
    if trains and options:
        return replace(finding, command=f"holdfast harden {options} --remedy {trains[0]}")
    return replace(finding, command=f"holdfast show {finding.remedies[0]}")
