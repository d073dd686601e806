"""Short ways to make records, outcomes and findings for the report's tests."""

import hashlib
from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor

from holdfast.core.record import (
    Finding,
    Measurement,
    Outcome,
    Property,
    Record,
    Severity,
    Stage,
    Status,
    Subject,
    ThreatModel,
    Value,
)
from holdfast.ops.stats import clopper_pearson

STORE: dict[str, Tensor] = {}


def tensor(digest: str) -> Tensor:
    """What the store would give."""
    return STORE[digest]


def keep(x: Tensor) -> str:
    """Put a tensor into the store."""
    digest = hashlib.sha256(x.contiguous().numpy().tobytes() + str(x.shape).encode()).hexdigest()
    STORE[digest] = x
    return digest


def share(name: str, value: float, n: int = 597, part: str = "") -> Measurement:
    """A rate with its exact interval."""
    hits = round(value * n)
    low, high = clopper_pearson(hits, n)
    return Measurement(name, hits / n, n, low, high, part)


def subject(model: str = "digits-cnn") -> Subject:
    """The model under assessment."""
    digest = hashlib.sha256(model.encode()).hexdigest()
    return Subject(f"{model}.pt", digest, "PyTorch state dict", "digits (597 held out)", "9f" * 32)


@cache
def images(n: int = 8) -> Tensor:
    """Real digits: (n, 1, 8, 8) in [0, 1]."""
    from sklearn.datasets import load_digits

    return torch.tensor(load_digits().images[20 : 20 + n], dtype=torch.float32).unsqueeze(1) / 16


def record(
    check: str,
    kind: str,
    measurements: tuple[Measurement, ...],
    *,
    threat: ThreatModel | None = None,
    params: Mapping[str, Value] | None = None,
    tensors: Mapping[str, Tensor] | None = None,
    given: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
    model: str = "digits-cnn",
) -> Record:
    """One record with everything that a real one has."""
    return Record(
        key=hashlib.sha256(f"{check}{model}".encode()).hexdigest(),
        check=check,
        method=check.partition(".")[0],
        kind=kind,
        params=params or {},
        given=given,
        threat=threat or ThreatModel("Nothing"),
        subject=subject(model),
        seed=0,
        versions={"python": "3.11.7", "holdfast": "0.1.0", "torch": "2.13.0", "numpy": "2.4.1"},
        started="2026-11-21T09:30:00Z",
        seconds=3.21,
        forwards=41.0,
        backwards=40.0,
        rows=575,
        measurements=measurements,
        tensors={name: keep(x) for name, x in (tensors or {}).items()},
        notes=notes,
    )


def outcome(title: str, made: Record, *findings: Finding, reason: str = "") -> Outcome:
    """Failed with findings above info, passed without."""
    bad = any(finding.severity > Severity.INFO for finding in findings)
    return Outcome(
        made.check,
        made.method,
        title,
        Status.FAILED if bad else Status.PASSED,
        reason,
        findings,
        made,
    )


def finding(
    rule: str,
    severity: Severity,
    title: str,
    detail: str,
    *evidence: Measurement,
    prop: Property = Property.ROBUSTNESS,
    stage: Stage = Stage.VALIDATION,
    refs: tuple[str, ...] = (),
    remedies: tuple[str, ...] = (),
    command: str = "",
    where: str = "",
) -> Finding:
    """A finding; everything that is not given is left out."""
    return Finding(
        rule, severity, title, detail, where, prop, stage, evidence, refs, remedies, command
    )
