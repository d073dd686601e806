"""What the terminal shows: tables, progress with the time left, one-line errors."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from holdfast.core.assessment import Assessment
from holdfast.core.policy import Decision
from holdfast.core.record import Measurement, Status

out = Console(highlight=False)
log = Console(stderr=True, highlight=False)

MARKS = {
    Status.PASSED: "[green]passed[/]",
    Status.FAILED: "[red]failed[/]",
    Status.MEASURED: "[cyan]measured[/]",
    Status.NOT_APPLICABLE: "[dim]not applicable[/]",
    Status.ERROR: "[bold red]error[/]",
}


@contextmanager
def progress() -> Iterator[Progress]:
    """Bars on the error stream, so that piping the output stays clean."""
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=log,
    )
    with bar:
        yield bar


def outcome_table(assessment: Assessment) -> Table:
    """One line per check: how it ended and why."""
    table = Table(
        title=f"{assessment.title}: {assessment.subject.model}", title_justify="left", box=None
    )
    table.add_column("check", style="bold", no_wrap=True)
    table.add_column("result", no_wrap=True)
    table.add_column("what was measured, or why not", overflow="fold")
    for outcome in assessment.outcomes:
        told = outcome.reason
        if not told and outcome.record:
            said = [m for m in outcome.record.measurements if m.name != "clean accuracy"]
            told = "; ".join(str(m) for m in said[:2])
        table.add_row(outcome.check, MARKS[outcome.status], _escape(told))
    return table


def attack_table(assessment: Assessment) -> Table:
    """One line per attack and budget: what stands, what stood under the control, and the cost."""
    table = Table(title=f"{assessment.subject.model}", title_justify="left", box=None)
    columns = ("attack", "at", "what stands", "control", "passes per row")
    for name in columns:
        table.add_column(name, style="bold" if name == "attack" else "", overflow="fold")
    for outcome in assessment.outcomes:
        record = outcome.record
        if record is None:
            table.add_row(outcome.check, "", f"{MARKS[outcome.status]}: {_escape(outcome.reason)}")
            continue
        parts = [m for m in record.measurements if m.name in STANDING]
        for i, told in enumerate(parts or record.measurements[:2]):
            beside = [m for m in record.measurements if m.name in CONTROLS and m.part == told.part]
            cost = f"{record.forwards:.0f} + {record.backwards:.0f}"
            table.add_row(
                outcome.check if i == 0 else "",
                f"{record.threat.measure or ''} {told.part.removeprefix('eps=')}".strip(),
                f"{told.name} {interval(told)}",
                interval(beside[0]) if beside else "",
                cost if i == 0 else "",
            )
        distance = record.find("median distance", "")
        if distance is not None:
            table.add_row("", "", f"median distance {interval(distance)} (quartiles)")
    table.caption = "passes per row: forward + backward, over all budgets; intervals of 95 %"
    return table


STANDING = ("robust accuracy", "rows not moved to the class", "attack success")
CONTROLS = (
    "accuracy under random noise", "accuracy under one try",
    "rows not moved to the class by random noise", "rows not moved to the class by one try",
    "success of a random patch",
)  # fmt: skip


def interval(told: Measurement) -> str:
    """0.56 [0.50, 0.61], n = 300."""
    ends = "" if told.low is None or told.high is None else f" \\[{told.low:.2f}, {told.high:.2f}]"
    return f"{told.value:.3g}{ends}, n = {told.n}"


def verdict_lines(assessment: Assessment) -> Iterator[str]:
    """The verdict and every reason against release; how many limits held."""
    verdict = assessment.verdict
    if verdict is None:
        return
    allowed = verdict.decision == Decision.ALLOW
    word = "[bold green]ALLOW[/]" if allowed else "[bold red]BLOCK[/]"
    yield f"{word}  {assessment.title} at {verdict.tier} risk"
    for reason in verdict.reasons:
        if reason.blocks:
            yield f"  [red]x[/] {_escape(reason.check)}: {_escape(reason.text)}"
    tolerated = [r for r in verdict.reasons if not r.blocks and not r.holds]
    for reason in tolerated:
        yield f"  [yellow]~[/] {_escape(reason.check)}: {_escape(reason.text)}"
    if tolerated:
        yield f"  [dim]~ broken, by no more than the {verdict.tier} tier allows[/]"
    yield f"  [dim]{sum(r.holds for r in verdict.reasons)} limits hold[/]"
    left = sum(o.status == Status.NOT_APPLICABLE for o in assessment.outcomes)
    if left:
        yield f"  [dim]{left} of {len(assessment.outcomes)} checks could not be run on this model[/]"


def compare_table(
    first: Assessment, second: Assessment, keys: Sequence[tuple[str, str, str, str]]
) -> Table:
    """Chosen measurements side by side; `keys` are (label, check, measurement, part)."""
    table = Table(box=None)
    table.add_column("")
    for each in (first, second):
        table.add_column(each.title.lower(), justify="right", no_wrap=True)
    for label, check, name, part in keys:
        cells = [_cell(a, check, name, part) for a in (first, second)]
        if any(cells):
            table.add_row(label, *cells)
    return table


def _cell(assessment: Assessment, check: str, name: str, part: str) -> str:
    for outcome in assessment.outcomes:
        if outcome.check == check and outcome.record:
            found = outcome.record.find(name, part)
            if found is not None:
                interval = (
                    ""
                    if found.low is None or found.high is None
                    else f" [dim][{found.low:.2f}, {found.high:.2f}][/]"
                )
                return f"{found.value:.3f}{interval}"
    return ""


def _escape(text: str) -> str:
    """Names of models and files come from outside and must not be read as markup."""
    return text.replace("[", "\\[")
