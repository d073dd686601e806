"""What was done, what was measured, and what it means: immutable, JSON-ready, never re-run to read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Literal

Access = Literal[
    "Nothing",
    "Answers",
    "Scores",
    "Gradients",
    "Features",
    "Trees",
    "Uncertain",
    "Shielded",
    "Weights",
    "WordGradients",
    "SharedGradients",
]
Value = float | int | str | bool | None


@dataclass(frozen=True)
class Measurement:
    """A number, never without its sample size and interval.

    Attributes:
        name: what was measured, such as "robust accuracy".
        value: the number.
        n: how many rows, models or draws it rests on.
        low: lower end of the 95 % interval; equal to `value` where the number is exact.
        high: upper end of the interval.
        part: which part it holds for, such as "eps=0.1" or "class=3".
        unit: "" for rates and plain numbers.
    """

    name: str
    value: float
    n: int
    low: float | None = None
    high: float | None = None
    part: str = ""
    unit: str = ""

    def __str__(self) -> str:
        part = f" ({self.part})" if self.part else ""
        interval = (
            "" if self.low is None or self.high is None else f" [{self.low:.3g}, {self.high:.3g}]"
        )
        return f"{self.name}{part} {self.value:.3g}{interval}, n = {self.n}"


@dataclass(frozen=True)
class ThreatModel:
    """The attacker that a result holds for.

    Attributes:
        knowledge: the access the method was given.
        targeted: towards a chosen answer, or just away from the right one.
        measure: how change is measured, None where inputs are not changed.
        eps: the budgets tried, ascending.
        queries: allowed model passes per row, None for no limit.
        wanted: the class that inputs are to be answered as, None for any but their own.
        background: what the attacker knows beside the target, in words.
    """

    knowledge: Access
    targeted: bool = False
    measure: str | None = None
    eps: tuple[float, ...] = ()
    queries: int | None = None
    background: str = ""
    wanted: int | None = None


@dataclass(frozen=True)
class Subject:
    """The model and the data of a record, by name and content."""

    model: str
    model_digest: str
    format: str
    data: str
    data_digest: str


class Severity(IntEnum):
    """How much a finding matters, ascending."""

    INFO, LOW, MEDIUM, HIGH, CRITICAL = range(5)


class Property(StrEnum):
    """The four properties that are judged."""

    CONFIDENTIALITY = "confidentiality"
    INTEGRITY = "integrity"
    ROBUSTNESS = "robustness"
    PRIVACY = "privacy"


class Stage(StrEnum):
    """The seven stages of a model's life."""

    DESIGN = "design"
    DATA = "data"
    TRAINING = "training"
    VALIDATION = "validation"
    DEPLOYMENT = "deployment"
    MONITORING = "monitoring"
    RETIREMENT = "retirement"


@dataclass(frozen=True)
class Finding:
    """Something a reader should know, with its evidence and what to do about it.

    Attributes:
        rule: stable id of the rule that was broken, used as the SARIF rule id.
        severity: how much it matters.
        title: one sentence.
        detail: what was seen, and what it means.
        where: file, member, column or class it concerns.
        property: the security property at stake.
        stage: the life-cycle stage where it is mended.
        evidence: the measurements it rests on.
        refs: ids in MITRE ATLAS, OWASP and NIST AI 100-2.
        remedies: catalogue ids of defences.
        command: what to run next.
    """

    rule: str
    severity: Severity
    title: str
    detail: str = ""
    where: str = ""
    property: Property = Property.INTEGRITY
    stage: Stage = Stage.VALIDATION
    evidence: tuple[Measurement, ...] = ()
    refs: tuple[str, ...] = ()
    remedies: tuple[str, ...] = ()
    command: str = ""


@dataclass(frozen=True)
class Record:
    """One finished run of one method, with everything that is needed to repeat it.

    Attributes:
        key: sha256 over everything that determines the result.
        check: id of the check in its plan.
        method: catalogue id.
        kind: name of the method's kind.
        params: every hyperparameter, given or default.
        given: names of those that were given.
        threat: the attacker.
        subject: model and data.
        seed: root of all random streams.
        versions: of Python, Holdfast and the libraries that matter.
        started: ISO 8601, UTC.
        seconds: wall-clock time.
        forwards: model forward passes per row that the method spent.
        backwards: backward passes per row.
        rows: rows that were attacked or measured.
        measurements: the numbers.
        tensors: name to sha256 of what was kept for pictures and re-judging.
        notes: limits of this result, in words.
        findings: what the method itself found; scanners only.
    """

    key: str
    check: str
    method: str
    kind: str
    params: Mapping[str, Value]
    given: tuple[str, ...]
    threat: ThreatModel
    subject: Subject
    seed: int
    versions: Mapping[str, str]
    started: str
    seconds: float
    forwards: float
    backwards: float
    rows: int
    measurements: tuple[Measurement, ...]
    tensors: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    def find(self, name: str, part: str = "") -> Measurement | None:
        """The measurement `name` of `part`, or None."""
        return next((m for m in self.measurements if (m.name, m.part) == (name, part)), None)


class Status(StrEnum):
    """How a check ended. Only `passed` counts as passed; `measured` is what no limit applies to."""

    PASSED = "passed"
    FAILED = "failed"
    MEASURED = "measured"
    NOT_APPLICABLE = "not applicable"
    ERROR = "error"


@dataclass(frozen=True)
class Outcome:
    """A check after judgement.

    Attributes:
        check: id of the check in its plan.
        method: catalogue id.
        title: the method's title.
        status: how it ended.
        reason: why it failed, was not applicable or broke; empty when it passed.
        findings: what a reader should know.
        record: the evidence, None when nothing was run.
        property: the security property the check is about, None where its domain says it.
        stage: the life-cycle stage where a failure is mended, likewise.
    """

    check: str
    method: str
    title: str
    status: Status
    reason: str = ""
    findings: tuple[Finding, ...] = ()
    record: Record | None = None
    property: Property | None = None
    stage: Stage | None = None
