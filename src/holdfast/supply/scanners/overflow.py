"""Malformed model files: numbers that a loader believes (Miller, Fredriksen and So 1990)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.kinds import Scanner
from holdfast.core.method import method
from holdfast.core.record import Finding
from holdfast.supply import files
from holdfast.supply.rules import Verdict


@method(cites="miller1990", where="sec. on the causes of crashes; the reader of headers is ours")
@dataclass(frozen=True)
class Overflow(Scanner):
    """Malformed files and overflows in loaders.

    Loaders in C and C++ allocate what a header announces and jump where it points. The scanner
    compares every count, length, size, product of sizes and place of the formats that it knows with
    the bytes that are there, without allocating what is announced, and answers with all that cannot
    be true: sizes beyond the file, products that wrap, parts that overlap, bytes that nothing owns,
    headers that break off, and whatever would unpack to more than is allowed. Whether a loader of
    one's own survives such files is measured by `holdfast fuzz-loader`.
    """

    def scan(self, path: Path) -> Iterator[Finding]:
        scan = files.scan_file(path)
        wrong = (Verdict.MALFORMED, Verdict.UNREAD)
        for issue in scan.issues:
            exhausted = issue.rule.id == "archive_scan/budget"
            sized = issue.rule.id.rpartition("/")[2] in ("size", "layout", "header")
            if issue.rule.verdict is wrong[0] or exhausted or sized:
                yield issue.finding()
        yield scan.findings[-1]
