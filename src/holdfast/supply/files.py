"""Scan files and folders: a pure function of their bytes and of the version of the rules.

Nothing is loaded, imported or unpacked to disk, and what is installed does not matter.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path

from holdfast.core.errors import InputError
from holdfast.core.record import Finding, Measurement, Property, Severity, Stage
from holdfast.supply import rules
from holdfast.supply.formats import dispatch
from holdfast.supply.pickle_values import Buffer
from holdfast.supply.reading import Part, Piece, Reading
from holdfast.supply.rules import Issue, Verdict

_SMALL = 2**26
"""Bytes up to which a file is read at once; longer ones are mapped."""
_SHOWN = 12


@dataclass(frozen=True)
class Scan:
    """What is known of one file.

    Attributes:
        file: its name, with the folders below what was asked for.
        size: its bytes.
        verdict: clean, flagged, malformed or not analysed.
        issues: what is wrong, the worst first.
        pieces: what was read: members, formats and bytes.
        others: members of archives that are of no known kind.
        opcodes: opcodes of pickles that were followed.
    """

    file: str
    size: int
    verdict: Verdict
    issues: tuple[Issue, ...]
    pieces: tuple[Piece, ...]
    others: int = 0
    opcodes: int = 0

    @property
    def read(self) -> str:
        """Which bytes and members were read, in a sentence."""
        if not self.pieces:
            return "Nothing was read."
        names = ", ".join(
            f"{piece.member or 'the file itself'} ({piece.format}, {piece.size:,})"
            for piece in self.pieces[:_SHOWN]
        )
        more = f" and {len(self.pieces) - _SHOWN} more" if len(self.pieces) > _SHOWN else ""
        others = f" {self.others} other members are of no known kind." if self.others else ""
        return f"Parts and their bytes: {names}{more}.{others}"

    @property
    def findings(self) -> tuple[Finding, ...]:
        """For records and reports; the last one always tells what was read."""
        size, count = sum(piece.size for piece in self.pieces), len(self.pieces)
        told = f"read {size:,} bytes in {count} {'part' if count == 1 else 'parts'}"
        title = (
            f"No unsafe callable: {told}" if self.verdict is Verdict.CLEAN else told.capitalize()
        )
        last = Finding(
            rule="supply/archive_scan/read", severity=Severity.INFO, title=title, detail=self.read,
            where=self.file, property=Property.INTEGRITY, stage=Stage.DEPLOYMENT, refs=rules.REFS,
            evidence=(
                Measurement("parts read", count, count, count, count),
                Measurement("bytes read", size, count, size, size, unit="bytes"),
                Measurement("opcodes followed", self.opcodes, count, self.opcodes, self.opcodes),
            ),
        )  # fmt: skip
        return (*(issue.finding() for issue in self.issues), last)


def scan_file(path: Path, named: str = "") -> Scan:
    """Everything that loading this file could do, without loading it.

    Raises:
        InputError: there is no such file, or it cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("a model file to scan", got=str(path), fix="give the path of a file")
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size <= _SMALL:
                return scan_bytes(file.read(), named or path.name)
            with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
                return scan_bytes(data, named or path.name)
    except OSError as error:
        raise InputError(
            "a model file that can be read", got=f"{path}: {error.strerror}", fix="check its rights"
        ) from error


def scan_bytes(data: Buffer, file: str) -> Scan:
    """The same for bytes that are at hand; `file` is what they are called."""
    reading = Reading(Path(file).name, dispatch)
    whole = Part(data, 0, len(data), "", reading.file, reading.allowance.depth)
    if not reading.read(whole):
        reading.report(whole, rules.UNKNOWN, "neither a known format nor a pickle")
    issues = sorted(reading.issues, key=lambda issue: -issue.rule.severity)
    return Scan(
        file, len(data), reading.verdict, tuple(issues), tuple(reading.pieces), reading.others,
        reading.opcodes,
    )  # fmt: skip


def walk(paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Files of files and folders, in a fixed order, with the names that they are reported under.

    Links within a folder are not followed: they are other files, which may lie anywhere.

    Raises:
        InputError: a path is neither a file nor a folder.
    """
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file() and not p.is_symlink())
            yield from ((p, f"{path.name}/{p.relative_to(path).as_posix()}") for p in inside)
        elif path.is_file():
            yield path, path.name
        else:
            raise InputError(
                "a file or folder to scan", got=f"{path}, which is neither", fix="check the path"
            )
