"""`fuzz-loader`: does your own loading code survive damaged files?"""

from pathlib import Path

from rich.table import Table
from rich.text import Text

from holdfast.cli.console import log, out, progress
from holdfast.supply.fuzz import Found, Limits, fuzz, loader, reproducers
from holdfast.supply.pickle_values import show


def run(model: Path, load: str, cases: int, folder: Path, limits: Limits, seed: int) -> int:
    """0 when no copy crashed the loader, hung it or took too much memory, else 1."""
    named = loader(load)
    with progress() as bar:
        task = bar.add_task("loading damaged copies", total=cases)

        def told(found: Found, cases: int) -> None:
            faults = f", {found.faults} faults" if found.faults else ""
            bar.update(task, completed=found.done, description=f"loading damaged copies{faults}")

        found = fuzz(model, named, cases, folder, limits, seed, told)
    if found.buckets:
        out.print(_table(found, folder, model.suffix))
    out.print(_summary(found))
    log.print(f"state and reproducers are in {folder}; the same command goes on from here")
    return int(found.faults > 0)


def _table(found: Found, folder: Path, suffix: str) -> Table:
    table = Table(box=None, title_justify="left")
    for heading in ("fault", "where", "seen", "smallest file"):
        table.add_column(heading, overflow="fold")
    for each in reproducers(found):
        kept = f"{folder / each.id}{suffix}, {each.size:,} bytes"
        table.add_row(each.kind, Text(show(each.told, 200)), str(each.count), Text(kept))
    return table


def _summary(found: Found) -> Text:
    counts = found.counts
    refused = f"{counts['exception']} refused by {len(found.exceptions)} kinds of exception"
    return Text(
        f"{found.done} damaged copies: {counts['fine']} loaded, {refused}, {counts['crash']} crashes, "
        f"{counts['hang']} hangs, {counts['memory']} over the memory limit.", "bold"
    )  # fmt: skip
