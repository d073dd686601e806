"""What the templates show, worked out beforehand: no template decides anything."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from holdfast.core.assessment import Assessment
from holdfast.core.policy import Decision, Reason
from holdfast.core.record import (
    Finding,
    Measurement,
    Outcome,
    Property,
    Severity,
    Stage,
    Status,
)
from holdfast.report.figures.choose import pictures
from holdfast.report.figures.svg import Picture
from holdfast.report.words import (
    FAMILIES,
    PROPERTY_TEXT,
    UNJUDGED,
    count,
    family,
    properties,
    results,
    stages,
    worst,
)


@dataclass(frozen=True)
class Check:
    """An outcome with its place in the page and its pictures."""

    outcome: Outcome
    anchor: str
    family: str
    pictures: tuple[Picture, ...]

    @property
    def lone(self) -> bool:
        """Whether only one picture is narrow: its caption then stands beside it."""
        return sum(not picture.wide for picture in self.pictures) == 1


@dataclass(frozen=True)
class Shown:
    """A finding with its check; only a check's first finding carries the check's pictures."""

    finding: Finding
    check: Check
    anchor: str
    first: bool
    leader: str


@dataclass(frozen=True)
class Tally:
    """How checks ended."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    broken: int = 0
    measured: int = 0

    @property
    def run(self) -> int:
        """Checks that gave a result."""
        return self.passed + self.failed + self.measured

    @property
    def total(self) -> int:
        """All checks."""
        return self.run + self.skipped + self.broken


@dataclass(frozen=True)
class PropertyView:
    """One of the four properties: the worst finding about it and how its checks ended."""

    property: Property
    question: str
    worst: Shown | None
    tally: Tally


@dataclass(frozen=True)
class Cell:
    """One threat family at one stage of the life cycle."""

    worst: Severity | None
    tally: Tally
    link: str

    @property
    def text(self) -> str:
        """What stands in the cell."""
        if not self.tally.total:
            return "–"
        if self.worst is not None:
            return self.worst.name.lower()
        if self.tally.broken:
            return "error"
        if not self.tally.run:
            return "not run"
        if self.tally.failed:
            return "failed"
        return "passed" if self.tally.passed else "measured"


@dataclass(frozen=True)
class Model:
    """One assessment, ready to be shown.

    Reasons are linked by check to the worst finding, or to the check itself where it has none.
    """

    assessment: Assessment
    anchor: str
    checks: tuple[Check, ...]
    findings: tuple[Shown, ...]
    tally: Tally
    properties: tuple[PropertyView, ...]
    matrix: tuple[tuple[str, str, tuple[Cell, ...]], ...]
    against: tuple[Reason, ...] = ()
    favour: tuple[Reason, ...] = ()
    links: dict[str, str] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """allow, block or none."""
        return self.assessment.verdict.decision.value if self.assessment.verdict else "none"

    @property
    def unjudged(self) -> bool:
        """Whether nothing was held against a limit, as in a run of single attacks."""
        return self.assessment.verdict is None and self.assessment.tier == UNJUDGED

    @property
    def results(self) -> tuple[tuple[Check, Measurement, Measurement | None], ...]:
        """What each attack left at each budget, beside its control."""
        return tuple(
            (check, told, beside)
            for check in self.checks
            if check.outcome.record
            for told, beside in results(check.outcome.record)
        )

    @property
    def answer(self) -> str:
        """The verdict as an answer to 'may it go live?'."""
        if self.assessment.verdict is None:
            return "Measured, not judged" if self.unjudged else "Not reviewed"
        return "Blocked" if self.assessment.verdict.decision is Decision.BLOCK else "Allowed"

    @property
    def headline(self) -> str:
        """The verdict's main reason in one or two sentences."""
        said = f"{self.tally.failed} of {count(self.tally.run, 'check')} failed"
        if self.unjudged:
            said = f"{count(self.tally.run, 'check')} ran"
        if self.tally.failed and self.answer == "Allowed":
            said += ", by no more than this tier allows"
        missing = [
            text
            for n, text in [
                (self.tally.skipped, f"{self.tally.skipped} could not be applied"),
                (self.tally.broken, f"{self.tally.broken} broke off"),
            ]
            if n
        ]
        said += f"; {' and '.join(missing)}." if missing else "."
        return said

    def ended(self, status: Status) -> tuple[Check, ...]:
        """Checks that ended so; failures with findings are shown by these."""
        told = status is Status.FAILED
        return tuple(
            check
            for check in self.checks
            if check.outcome.status is status and not (told and check.outcome.findings)
        )


def model(assessment: Assessment, spot: int, tensor: Callable[[str], Tensor]) -> Model:
    """Everything the page shows of one assessment; `spot` keeps its link targets apart."""
    anchor = f"m{spot}"
    checks = tuple(
        Check(
            outcome,
            f"{anchor}-c{n}",
            family(outcome),
            tuple(pictures(outcome.record, tensor, f"{anchor}-c{n}")) if outcome.record else (),
        )
        for n, outcome in enumerate(assessment.outcomes, 1)
    )
    findings = _findings(checks, anchor)
    reasons = assessment.verdict.reasons if assessment.verdict else ()
    links = {check.outcome.check: check.anchor for check in checks}
    titles = {}
    for shown in reversed(findings):
        links[shown.check.outcome.check] = shown.anchor
        titles[shown.check.outcome.check] = shown.finding.title
    return Model(
        assessment,
        anchor,
        checks,
        findings,
        _tally([c.outcome for c in checks]),
        tuple(_property(each, checks, findings) for each in Property),
        tuple(_matrix_row(name, checks, findings) for name in FAMILIES),
        tuple(reason for reason in reasons if reason.blocks),
        tuple(reason for reason in reasons if not reason.blocks),
        links,
        titles,
    )


def _findings(checks: tuple[Check, ...], anchor: str) -> tuple[Shown, ...]:
    """All findings, worst first, then in plan order."""
    every = [(finding, check) for check in checks for finding in check.outcome.findings]
    every.sort(key=lambda pair: -pair[0].severity)
    shown: list[Shown] = []
    leaders: dict[str, str] = {}
    for n, (finding, check) in enumerate(every, 1):
        own = f"{anchor}-f{n}"
        leader = leaders.setdefault(check.anchor, own)
        shown.append(Shown(finding, check, own, leader == own, leader))
    return tuple(shown)


def _tally(outcomes: list[Outcome]) -> Tally:
    ends = [outcome.status for outcome in outcomes]
    order = (
        Status.PASSED, Status.FAILED, Status.NOT_APPLICABLE, Status.ERROR, Status.MEASURED,
    )  # fmt: skip
    return Tally(*(ends.count(status) for status in order))


def _property(
    each: Property, checks: tuple[Check, ...], findings: tuple[Shown, ...]
) -> PropertyView:
    own = [check.outcome for check in checks if each in properties(check.outcome)]
    first = next((shown for shown in findings if shown.finding.property is each), None)
    return PropertyView(each, PROPERTY_TEXT[each], first, _tally(own))


def _matrix_row(
    name: str, checks: tuple[Check, ...], findings: tuple[Shown, ...]
) -> tuple[str, str, tuple[Cell, ...]]:
    """A threat family across the seven stages.

    A check stands at the stages of its findings; without one, at its family's own stage.
    """
    cells = []
    for stage in Stage:
        here = [c for c in checks if c.family == name and stage in stages(c.outcome)]
        own = [s for s in findings if s.check in here and s.finding.stage is stage]
        link = own[0].anchor if own else here[0].anchor if here else ""
        cells.append(Cell(worst([s.finding for s in own]), _tally([c.outcome for c in here]), link))
    return name, FAMILIES[name][0], tuple(cells)
