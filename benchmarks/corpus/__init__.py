"""Our own corpus: inert files that would harm if they were loaded, and ordinary ones by real libraries.

Every payload's argument is `true`, `pass`, `data:,` or a host under `.invalid`; files are put together
from opcodes and bytes and are never loaded. Rows are those of the table of published bypasses.
"""

import io
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest import mock

CODE, REACH, LOAD, LIE, POISON, NEEDS = "code", "reach", "load", "lie", "poison", "needs"
"""What a file would do: run code; read, write or fetch what it should not; eat time or memory; say
what is not so (overlaps, lengths, hidden bytes, parts that no reader follows to their end); carry
texts that mislead; or ask for code that does not lie in it, of which nobody can say anything."""
GOOD = "good"
TIERS = {
    CODE: "would run code", REACH: "would reach other files or hosts",
    LOAD: "would eat time or memory", LIE: "lies or is damaged", POISON: "carries texts that mislead",
    NEEDS: "asks for code that is elsewhere",
}  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """One file.

    Attributes:
        name: what it is, unique.
        file: the name that it is scanned under.
        data: its bytes.
        tier: what it would do, or `GOOD`.
        row: of the table of bypasses, 0 where there is none.
        group: of the good ones: which library or format.
    """

    name: str
    file: str
    data: bytes
    tier: str = CODE
    row: int = 0
    group: str = ""


@contextmanager
def still() -> Iterator[None]:
    """The clock stands at 1 January 1990, so that archives are the same every time."""
    moment = 631_152_000.0
    with (
        mock.patch("time.time", return_value=moment),
        mock.patch("time.localtime", return_value=time.gmtime(moment)),
    ):
        yield


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for member, content in members.items():
            info = zipfile.ZipInfo(member, (1990, 1, 1, 0, 0, 0))
            info.compress_type = method
            archive.writestr(info, content)
    return out.getvalue()


def bad() -> list[Sample]:
    """All files that should not pass."""
    with still():
        from benchmarks.corpus import containers, graphs, models, pickles

        return [*pickles.samples(), *containers.samples(), *models.samples(), *graphs.samples()]


def good() -> list[Sample]:
    """All ordinary files."""
    from benchmarks.corpus import ordinary, saved

    with still():
        return [*saved.samples(), *ordinary.samples()]
