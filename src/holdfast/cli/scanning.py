"""`scan`: what is in model files, without loading them."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from holdfast.cli.console import out
from holdfast.core.errors import InputError
from holdfast.core.record import Severity
from holdfast.supply.scanners.pickle_scan import scan_file

COLOURS = {Severity.CRITICAL: "bold red", Severity.HIGH: "red", Severity.MEDIUM: "yellow"}


def run(paths: Sequence[Path]) -> int:
    """0 when nothing worse than low was found, else 1."""
    missing = [p for p in paths if not p.is_file()]
    if missing:
        raise InputError(
            "a file to scan", got=f"{missing[0]}, which is no file", fix="give model files"
        )
    table = Table(box=None)
    for column in ("file", "severity", "what", "where"):
        table.add_column(column, overflow="fold")
    worst = Severity.INFO
    for path in paths:
        for finding in scan_file(path):
            worst = max(worst, finding.severity)
            colour = COLOURS.get(finding.severity, "dim")
            told = f"{finding.title}. {finding.detail}".replace("[", "\\[")
            table.add_row(
                path.name, f"[{colour}]{finding.severity.name.lower()}[/]", told, finding.where
            )
    out.print(table)
    return 0 if worst < Severity.MEDIUM else 1
