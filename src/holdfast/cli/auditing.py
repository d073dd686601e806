"""`audit`: known vulnerabilities, odd names and loose ends of a requirements file or environment."""

import json as json_
from collections.abc import Iterator
from pathlib import Path

from rich.padding import Padding
from rich.text import Text

from holdfast.cli.console import COLOURS, log, out, write
from holdfast.core.record import Severity
from holdfast.supply import advisories, requirements
from holdfast.supply.requirements import Doubt


def run_audit(
    source: Path | None, dump: Path | None = None, online: bool = False, json: Path | None = None
) -> int:
    """0 when nothing of medium severity or worse was found, else 1.

    Args:
        source: a requirements file, a `site-packages` folder, or None for this environment.
        dump: a folder or zip of advisories in OSV format.
        online: ask pip-audit as well, which tells the network what is installed.
        json: where to write everything, `-` for the standard output.
    """
    folder = source is not None and source.is_dir()
    if source is None or folder:
        listing = requirements.environment([str(source)] if source else None)
    else:
        listing = requirements.read(source)
    known = advisories.dump(dump) if dump else []
    doubts = advisories.audit(listing, known)
    if online and not folder:
        log.print("pip-audit asks the network about these packages")
        told = {d.subject for d in doubts if d.rule is advisories.LOADER_HOLE}
        doubts += [d for d in advisories.online(source) if d.subject not in told]
    doubts.sort(key=lambda d: (-d.rule.severity, d.file, d.line, d.subject, d.reason))
    if json is not None:
        _write(json, doubts)
    if json != Path("-"):
        for line in _lines(doubts):
            out.print(line)
        many = f"{len(listing.packages)} packages, {len(known)} advisories beside the built-in ones"
        none = "" if known or online else "; give --advisories DUMP for all that is known"
        out.print(Text(f"{many}{none}.", "dim"))
    return int(any(d.rule.severity >= Severity.MEDIUM for d in doubts))


def _lines(doubts: list[Doubt]) -> Iterator[Padding]:
    for each in doubts:
        severity = each.rule.severity
        title = each.rule.title.replace("{subject}", each.subject)
        where = f"{each.file}, line {each.line}. " if each.line else ""
        text = Text.assemble(
            (f"{severity.name.lower():<9}", COLOURS.get(severity, "dim")), f"{title}.\n",
            (f"         {where}{each.reason}. {each.rule.remedy}", "dim"),
        )  # fmt: skip
        yield Padding(text, (0, 0), expand=False)


def _write(target: Path, doubts: list[Doubt]) -> None:
    nodes = [
        {
            "rule": f"supply/{d.rule.id}", "severity": d.rule.severity.name.lower(),
            "subject": d.subject, "reason": d.reason, "file": d.file, "line": d.line,
            "remedy": d.rule.remedy,
        }
        for d in doubts
    ]  # fmt: skip
    write(target, json_.dumps(nodes, indent=1) + "\n")
