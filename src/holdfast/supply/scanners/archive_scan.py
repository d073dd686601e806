"""Archives: what is in them, and where readers of them differ (APPNOTE 6.3.10; POSIX.1-2017, pax)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import Scanner
from holdfast.core.method import method
from holdfast.core.record import Finding
from holdfast.supply import files


@method(cites="pkware2022", where="sec. 4, the records; what readers make of them is ours")
@dataclass(frozen=True)
class ArchiveScan(Scanner):
    """Archives and compressed files.

    Zip, tar and compressed files are opened within each other, and every member is read by its
    content. Reported are names that lead out of the folder, links to places outside, devices,
    members that overlap, that no directory lists or that have two names, sizes and checksums that
    are not true, marks of an encryption that is none, bytes that belong to no member, and data that
    unpack to far more than they are. Nothing is written to disk.
    """

    def scan(self, path: Path) -> Iterator[Finding]:
        scan = files.scan_file(path)
        own = [issue for issue in scan.issues if issue.rule.id.startswith("archive_scan/")]
        if not own and not any(piece.member for piece in scan.pieces):
            raise NotApplicable("needs an archive or a compressed file")
        yield from (issue.finding() for issue in own)
        yield scan.findings[-1]
