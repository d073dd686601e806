"""What the terminal shows: tables, progress with the time left, one-line errors."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

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
from holdfast.core.record import Measurement, Severity, Status

out = Console(highlight=False)
log = Console(stderr=True, highlight=False)

MARKS = {
    Status.PASSED: "[green]passed[/]",
    Status.FAILED: "[red]failed[/]",
    Status.MEASURED: "[cyan]measured[/]",
    Status.NOT_APPLICABLE: "[dim]not applicable[/]",
    Status.ERROR: "[bold red]error[/]",
}


COLOURS = {Severity.CRITICAL: "bold red", Severity.HIGH: "red", Severity.MEDIUM: "yellow"}
"""Of severities that count; the others are dim."""


def write(target: Path, text: str) -> None:
    """Write a file, its folders with it, and say so; `-` is the standard output."""
    if target == Path("-"):
        sys.stdout.write(text)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    log.print(f"wrote {target}")


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


def attack_tables(assessment: Assessment) -> Iterator[Table]:
    """One line per attack and budget: what stands, the control beside it, n and the cost.

    Rates of different things stand in tables of their own.
    """
    from holdfast.report.words import budget, results

    tables: dict[str, Table] = {}
    for outcome in assessment.outcomes:
        record = outcome.record
        if record is None:
            continue
        shown = ""
        for told, beside in results(record):
            table = tables.setdefault(told.name, _of_attacks(told.name))
            first = shown != told.name
            shown = told.name
            table.add_row(
                outcome.check if first else "",
                budget(record, told) or "own settings",
                f"{told.value:.3f}{ends(told)}",
                f"{beside.value:.3f}" if beside else "",
                str(told.n),
                f"{record.forwards:.0f}+{record.backwards:.0f}" if first else "",
            )
        distance = next((m for m in record.measurements if m.name == "median distance"), None)
        if distance is not None:
            said = f"{distance.value:.3g}{ends(distance, '.3g')}"
            tables[shown].add_row("", "median", said, "", str(distance.n), "")
    yield from tables.values()


def _of_attacks(name: str) -> Table:
    """An empty table of what `name` measures."""
    table = Table(
        title=name + OF_WHAT.get(name, ""),
        title_justify="left",
        title_style="",
        box=None,
        pad_edge=False,
    )
    table.add_column("attack", style="bold", overflow="fold")
    for heading in ("at", "value", "control", "n", "passes"):
        table.add_column(heading, no_wrap=True, justify="left" if heading == "at" else "right")
    return table


def attack_notes(assessment: Assessment) -> Iterator[str]:
    """How to read the tables, what could not be run, and the limits of what could."""
    from holdfast.report.words import beaten

    if any(outcome.record for outcome in assessment.outcomes):
        yield (
            "[dim]\\[95 % interval], of a median distance \\[quartiles]; control: random noise of that "
            "size, random content or one try; passes: forward+backward per attacked row[/]"
        )
    for outcome in assessment.outcomes:
        record = outcome.record
        if record is None:
            yield f"{MARKS[outcome.status]}: {outcome.check}: {_escape(outcome.reason)}"
            continue
        notes = list(record.notes)
        blind = record.threat.knowledge == "Gradients" and not record.backwards and record.rows
        if blind and record.threat.queries is not None:
            said = f"--queries {record.threat.queries} paid for no gradient, so nothing was tried"
            notes.append(f"{said}; give more")
        if at := beaten(record):
            said = "the control, which is no attack, leaves less: believe the control"
            notes.append(f"at {', '.join(at)} {said}, and give more queries or steps")
        for note in notes:
            yield f"[yellow]note[/]: {outcome.check}: {_escape(note)}"


OF_WHAT = {
    "robust accuracy": ", of all rows",
    "rows not moved to the class": ", of other classes' rows",
    "attack success": ", of rows answered rightly; low is good",
}


def interval(told: Measurement) -> str:
    """0.56 [0.50, 0.61], n = 300."""
    return f"{told.value:.3g}{ends(told)}, n = {told.n}"


def ends(told: Measurement, form: str = ".2f") -> str:
    """Its interval, escaped; empty where it is unknown."""
    if told.low is None or told.high is None:
        return ""
    return f" \\[{told.low:{form}}, {told.high:{form}}]"


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
