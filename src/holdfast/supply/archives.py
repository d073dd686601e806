"""Members of archives and compressed files, found and unpacked within bounds, never extracted to disk.

Loaders disagree with each other about damaged archives, so an inconsistency is reported and the
member is read all the same: a scanner that gives up where a loader goes on can be passed by.
"""

import bz2
import io
import lzma
import mmap
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from holdfast.core.record import Severity
from holdfast.supply import rules
from holdfast.supply.pickle_values import Buffer, Exhausted, show
from holdfast.supply.reading import Allowance, Part, Reading
from holdfast.supply.rules import Rule

MEMBERS = 65_536
ESCAPES = Rule(
    "archive_scan/path", "A member would be unpacked outside of its folder: {subject}",
    Severity.HIGH, "Do not unpack the archive. Get it again from its source.",
    refs=("CWE-22",),
)  # fmt: skip
STORED = 0
PACKED = {8: "deflate", 12: "bz2", 14: "zip lzma"}
"""Methods of zip archives that are unpacked, by their number."""
SPECIAL = Rule(
    "archive_scan/special", "Unpacking would make {subject}", Severity.HIGH,
    "Do not unpack the archive. Get it again from its source.", refs=("CWE-61",),
)  # fmt: skip
_CHUNK = 2**20


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


@dataclass
class Member:
    """One entry: its bytes lie in the archive from `start` to `end`, packed by `method`.

    Attributes:
        names: other names that other readers may give it.
        header: where its own header begins.
        crc: checksum of what it unpacks to, None where none is told.
        size: bytes that it says to unpack to, None where it says nothing.
        link: where it leads when it is a link, "" when it is none.
        special: what it is when it is neither file nor folder nor link.
        problems: what is wrong with it.
    """

    name: str
    start: int
    end: int
    method: int = STORED
    names: tuple[str, ...] = ()
    header: int = 0
    crc: int | None = None
    size: int | None = None
    link: str = ""
    special: str = ""
    problems: list[str] = field(default_factory=list)


def compression(head: bytes) -> str:
    """Which compression a file begins with, or ""."""
    if head[:2] == b"\x1f\x8b":
        return "gzip"
    if head[:3] == b"BZh":
        return "bz2"
    if head[:6] == b"\xfd7zXZ\x00":
        return "xz"
    if head[:2] == b"\x5d\x00" and (head[5:13] == b"\xff" * 8 or head[10:13] == bytes(3)):
        return "lzma"  # of unknown size, or of less than a tebibyte
    zlib_like = len(head) > 1 and head[0] == 0x78 and (head[0] * 256 + head[1]) % 31 == 0
    return "zlib" if zlib_like else ""


def _decoder(kind: str) -> Callable[[], _Decoder]:
    makers: dict[str, Callable[[], _Decoder]] = {
        "gzip": lambda: _Zlib(31),
        "zlib": lambda: _Zlib(15),
        "deflate": lambda: _Zlib(-15),
        "bz2": bz2.BZ2Decompressor,
        "zip lzma": _ZipLzma,
        "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=2**27),
        "lzma": lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=2**27),
    }
    return makers[kind]


class _Zlib:
    """zlib's decoder with the manners of the others: it keeps the input that it has not used yet."""

    def __init__(self, window: int) -> None:
        self._inner = zlib.decompressobj(window)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = 0, /) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


class _ZipLzma:
    """LZMA as zip archives hold it: its settings first, and no mark of an end is needed."""

    def __init__(self) -> None:
        self._inner: lzma.LZMADecompressor | None = None

    @property
    def eof(self) -> bool:
        return self._inner is not None and self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data if self._inner else b""

    def decompress(self, data: bytes, max_length: int = 0, /) -> bytes:
        if self._inner is None:
            if len(data) < 9 or data[2:4] != b"\5\0" or data[4] >= 225:
                raise ValueError("settings that cannot be read")
            size = int.from_bytes(data[5:9], "little")
            if size > 2**26:
                raise Exhausted("packed with a larger dictionary than is read")
            rest, lc = divmod(data[4], 9)
            settings = {"id": lzma.FILTER_LZMA1, "dict_size": max(size, 4096), "lc": lc,
                        "lp": rest % 5, "pb": rest // 5}  # fmt: skip
            self._inner = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[settings])
            data = data[9:]
        return self._inner.decompress(data, max_length)


def inflate(
    data: Buffer, start: int, end: int, kind: str, allowance: Allowance
) -> tuple[bytes, str]:
    """Unpack all streams of `kind`, one after the other, and say what is wrong with them, or "".

    Raises:
        Exhausted: more comes out than is read of one file, or out of all proportion to what went in.
    """
    out, pos, size = io.BytesIO(), start, 0
    make = _decoder(kind)
    decoder = make()
    while True:
        chunk = bytes(data[pos : min(pos + 2**16, end)])
        pos += len(chunk)
        try:
            piece = decoder.decompress(chunk, 2**20)
            while piece:
                size += out.write(piece)
                if size > allowance.inflated or (size > 2**26 and size > 500 * (pos - start)):
                    raise Exhausted("unpacks to more than is read of one file")
                piece = b"" if decoder.eof else decoder.decompress(b"", 2**20)
        except (OSError, zlib.error, lzma.LZMAError, EOFError, ValueError) as error:
            return out.getvalue(), f"damaged {kind} data: {error}"
        if decoder.eof:
            pos -= len(decoder.unused_data)
            if pos >= end or kind in PACKED.values() or not any(data[pos : min(end, pos + 4096)]):
                allowance.inflated -= size
                return out.getvalue(), ""
            decoder = make()
        elif not chunk:
            allowance.inflated -= size
            if kind == "zip lzma":  # the size of the member is the end
                return out.getvalue(), ""
            return out.getvalue(), f"the {kind} data ends too early"


def leaves(path: str) -> bool:
    """Whether a path is absolute, or leads up and out of the folder that it starts in."""
    pieces = path.replace("\\", "/").split("/")
    rooted = len(pieces) > 1 and (pieces[0] == "" or pieces[0].endswith(":"))
    return rooted or ".." in pieces


def targets(member: Member, held: set[str]) -> bool:
    """Whether a link leads to something that the archive holds itself."""
    place = [] if member.special else member.name.split("/")[:-1]
    for piece in member.link.split("/"):
        if piece == ".." and place:
            place.pop()
        elif piece not in ("", "."):
            place.append(piece)
    return not member.link.startswith("/") and "/".join(place) in held


def plain(name: str) -> str:
    """A name as folders have it, to compare names by."""
    return "/".join(piece for piece in name.split("/") if piece not in ("", "."))


def listed(reading: Reading, part: Part, entries: list[Member]) -> list[Member]:
    """Members that hold bytes; what the others would do when they are unpacked is reported."""
    held = {plain(entry.name) for entry in entries}
    held |= {name.rpartition("/")[0] for name in held}
    for member in entries:
        at = member.header
        if any(map(leaves, (member.name, *member.names))):
            reason = "its name leads out of the folder that it is unpacked to"
            reading.report(part, ESCAPES, reason, at, show(member.name, 120))
        if member.link and not targets(member, held):
            reason = f"{show(member.name, 120)} is a link to what the archive does not hold"
            reading.report(part, SPECIAL, reason, at, f"a link to {show(member.link, 120)}")
        elif member.special and not member.link:
            reading.report(
                part, SPECIAL, f"the member {show(member.name, 120)}", at, member.special
            )
    return [m for m in entries if m.end > m.start or not (m.link or m.name.endswith("/"))]


def unpacked(
    reading: Reading, part: Part, member: Member, raw: bool = False, script: bool = False
) -> Part:
    """The bytes of a member, and issues about its packing."""
    inner = part.within(member.start, member.end, member.name)
    for problem in member.problems:
        reading.report(inner, rules.MALFORMED, f"a member {problem}")
    empty, before = part.within(0, 0, member.name, b""), len(reading.issues)
    if member.method in PACKED:
        inner = inflated(reading, inner, PACKED[member.method], empty)
    elif member.method != STORED:
        reading.report(inner, rules.BUDGET, f"packed by method {member.method}, which is not read")
        inner = empty
    if len(reading.issues) == before:
        _compare(reading, inner, member)
    return replace(inner, raw=raw, script=script or inner.script)


def _compare(reading: Reading, inner: Part, member: Member) -> None:
    """Size and checksum; a loader that compares neither loads what it finds."""
    if member.size is not None and member.size != len(inner):
        reason = f"a member of {len(inner):,} bytes that says to have {member.size:,}"
        reading.report(inner, rules.MALFORMED, reason)
    elif member.crc is not None and checksum(inner) != member.crc:
        reading.report(inner, rules.MALFORMED, "a member whose checksum is wrong")


def checksum(part: Part) -> int:
    """CRC-32 of a part, in pieces: it can be larger than memory."""
    crc = 0
    for at in range(part.start, part.end, _CHUNK):
        crc = zlib.crc32(part.data[at : min(at + _CHUNK, part.end)], crc)
        _forget(part.data, at)
    return crc


def _forget(data: Buffer, at: int) -> None:
    """Let the system have the pages of a mapped file back, which else count as memory in use."""
    advice = getattr(mmap, "MADV_DONTNEED", None)  # not on every system
    if isinstance(data, mmap.mmap) and advice is not None:
        begin = at - at % mmap.PAGESIZE
        data.madvise(advice, begin, min(_CHUNK, len(data) - begin))


def inflated(reading: Reading, part: Part, kind: str, empty: Part) -> Part:
    """`empty`, filled with what `part` unpacks to."""
    try:
        content, problem = inflate(part.data, part.start, part.end, kind, reading.allowance)
    except Exhausted as error:
        reading.report(part, rules.BUDGET, str(error))
        return empty
    if problem:
        reading.report(part, rules.MALFORMED, problem)
    return replace(empty, data=content, end=len(content))


def blank(data: Buffer, start: int, end: int) -> bool:
    """Whether there are only zeros."""
    return all(
        data[at : min(at + _CHUNK, end)].count(0) == min(at + _CHUNK, end) - at
        for at in range(start, end, _CHUNK)
    )
