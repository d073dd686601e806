"""What the one reader of files found, cut to the rules of one scanner."""

from collections.abc import Collection, Iterator
from pathlib import Path

from holdfast.core.errors import NotApplicable
from holdfast.core.record import Finding
from holdfast.supply import files


def of_rules(path: Path, scanner: str, formats: Collection[str]) -> Iterator[Finding]:
    """Findings whose rule is the scanner's, and the last one, which tells what was read.

    Raises:
        NotApplicable: no part of the file is of these formats.
    """
    scan = files.scan_file(path)
    own = [issue for issue in scan.issues if issue.rule.id.startswith(f"{scanner}/")]
    if not own and not any(piece.format in formats for piece in scan.pieces):
        raise NotApplicable(f"needs a file in which something is {' or '.join(sorted(formats))}")
    yield from (issue.finding() for issue in own)
    yield scan.findings[-1]
