"""`scan`: what is in model files, without loading them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from rich.padding import Padding
from rich.text import Text

from holdfast.cli.console import COLOURS, out, progress, write
from holdfast.core.record import Severity
from holdfast.supply.files import Scan, scan_file, walk
from holdfast.supply.rules import VERSION, Issue, Verdict

VERDICTS = {
    Verdict.CLEAN: "green", Verdict.FLAGGED: "bold red", Verdict.MALFORMED: "red",
    Verdict.UNREAD: "yellow",
}  # fmt: skip
SHOWN = 8
"""Issues of one file that the terminal shows; files with the rest are shown in JSON and SARIF."""


def run(paths: Sequence[Path], json: Path | None, sarif: Path | None, jobs: int) -> int:
    """0 when nothing worse than low was found in any file, else 1."""
    files = list(walk(paths))
    scans = list(_scans(files, jobs))
    if json is not None or sarif is not None:
        from holdfast.supply.exports import as_json, as_sarif

        for target, render in ((json, as_json), (sarif, as_sarif)):
            if target is not None:
                write(target, render(scans))
    if Path("-") not in (json, sarif):
        for scan in scans:
            for line in _lines(scan):
                out.print(line)
        out.print(_summary(scans))
    return int(any(_worst(scan) >= Severity.MEDIUM or not passes(scan) for scan in scans))


def rewrite(paths: Sequence[Path], folder: Path) -> None:
    """Write the tensors of checkpoints as safetensors, without loading them."""
    from holdfast.supply.convert import convert

    for path in paths:
        for line in convert(path, folder).lines:
            out.print(Text(line))


def passes(scan: Scan) -> bool:
    """Clean, or a picture or the like, which is no model."""
    return scan.verdict is Verdict.CLEAN or (bool(scan.issues) and _worst(scan) < Severity.MEDIUM)


def _worst(scan: Scan) -> Severity:
    return max((issue.rule.severity for issue in scan.issues), default=Severity.INFO)


def _scans(files: Sequence[tuple[Path, str]], jobs: int) -> Iterator[Scan]:
    """Scans in the order of the files, with a bar where there are several."""
    paths, names = [path for path, _ in files], [name for _, name in files]
    if len(files) < 2:
        yield from map(scan_file, paths, names)
        return
    with progress() as bar, ExitStack() as stack:
        task = bar.add_task("scanning", total=len(files))
        found: Iterator[Scan] = map(scan_file, paths, names)
        if jobs > 1:
            pool = stack.enter_context(ProcessPoolExecutor(min(jobs, len(files))))
            stack.callback(pool.shutdown, cancel_futures=True)
            found = pool.map(scan_file, paths, names)
        for scan in found:
            bar.advance(task)
            yield scan


def _lines(scan: Scan) -> Iterator[Text | Padding]:
    """The verdict, what is wrong, and for a clean file what was read."""
    head = Text.assemble((f"{scan.verdict.value:<13}", VERDICTS[scan.verdict]), (scan.file, "bold"))
    head.append(f"  {scan.size:,} bytes", "dim")
    yield head
    for issue in scan.issues[:SHOWN]:
        yield _issue(issue)
    if len(scan.issues) > SHOWN:
        yield _inside(f"and {len(scan.issues) - SHOWN} more; --json FILE has them all", "dim")
    if scan.verdict is Verdict.CLEAN:
        yield _inside(scan.read, "dim")


def _issue(issue: Issue) -> Padding:
    severity = issue.rule.severity
    told = issue.title if issue.reason in issue.title else f"{issue.title}: {issue.reason}"
    text = Text.assemble(
        (severity.name.lower(), COLOURS.get(severity, "dim")), f"  {told}.\n",
        (f"{issue.where}. {issue.rule.remedy}", "dim"),
    )  # fmt: skip
    return Padding(text, (0, 0, 0, 13), expand=False)


def _inside(told: str, style: str) -> Padding:
    return Padding(Text(told, style), (0, 0, 0, 13), expand=False)


def _summary(scans: Sequence[Scan]) -> Text:
    counts = Counter(scan.verdict for scan in scans)
    told = ", ".join(f"{counts[v]} {v.value}" for v in Verdict if counts[v]) or "none"
    files = f"{len(scans)} file{'' if len(scans) == 1 else 's'}"
    return Text(f"{files}: {told}. Rules {VERSION}; nothing was loaded or run.", "dim")
