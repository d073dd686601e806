"""Members of archives and compressed files, found and unpacked within bounds, never extracted to disk.

Loaders disagree with each other about damaged archives, so an inconsistency is reported and the
member is read all the same: a scanner that gives up where a loader goes on can be passed by.
"""

import bz2
import io
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from holdfast.supply import rules
from holdfast.supply.pickle_values import Buffer, Exhausted, Malformed
from holdfast.supply.reading import Allowance, Part, Reading

MEMBERS = 65_536
STORED, DEFLATED = 0, 8


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


@dataclass
class Member:
    """One entry: its bytes lie in the archive from `start` to `end`, packed by `method`."""

    name: str
    start: int
    end: int
    method: int = STORED
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
            if pos >= end or kind == "deflate" or not any(data[pos : min(end, pos + 4096)]):
                allowance.inflated -= size
                return out.getvalue(), ""
            decoder = make()
        elif not chunk:
            allowance.inflated -= size
            return out.getvalue(), f"the {kind} data ends too early"


def find_zip(data: Buffer, start: int, end: int) -> int | None:
    """Where the end record of a zip archive lies, None where there is none."""
    found = data.rfind(b"PK\x05\x06", max(start, end - 65_557), max(start, end - 18))
    return found if found >= 0 else None


def zip_members(data: Buffer, start: int, end: int, record: int) -> Iterator[Member]:
    """Entries of the central directory, each compared with the header before its data.

    Raises:
        Malformed: the directory cannot be read to its end.
        Exhausted: more entries than are read.
    """
    count, size, offset = struct.unpack_from("<HII", data, record + 10)
    last = record
    if record - 20 >= start and data[record - 20 : record - 16] == b"PK\x06\x07":
        last = record - 76
        if last < start or data[last : last + 4] != b"PK\x06\x06":
            raise Malformed("a zip archive whose 64-bit record is missing")
        count, size, offset = struct.unpack_from("<QQQ", data, last + 32)
    if count > MEMBERS:
        raise Exhausted(f"an archive of {count} members")
    pos = last - size
    base = pos - offset
    if pos < start or base < start:
        raise Malformed("a zip archive whose directory lies outside of it")
    seen: set[str] = set()
    while pos < last:
        if pos + 46 > last or data[pos : pos + 4] != b"PK\x01\x02":
            raise Malformed("a zip archive whose directory is damaged")
        flags, method = struct.unpack_from("<HH", data, pos + 8)
        packed, full, name_size, extra, comment = struct.unpack_from("<IIHHH", data, pos + 20)
        (where,) = struct.unpack_from("<I", data, pos + 42)
        raw = bytes(data[pos + 46 : pos + 46 + name_size])
        more = bytes(data[pos + 46 + name_size : pos + 46 + name_size + extra])
        packed, where = _wide(more, packed, full, where)
        name = raw.decode("utf-8" if flags & 0x800 else "cp437", "replace")
        member = _local(data, (start, end), Member(name, base + where, 0, method), raw, packed)
        if flags & 1:
            member.problems.append("is marked as encrypted")
        if name in seen:
            member.problems.append("has the name of another member")
        seen.add(name)
        if len(seen) > MEMBERS:
            raise Exhausted("an archive of too many members")
        yield member
        pos += 46 + name_size + extra + comment


def _wide(extra: bytes, packed: int, full: int, where: int) -> tuple[int, int]:
    """Size and place from the 64-bit extra field, where the short fields are full."""
    pos = 0
    while pos + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, pos)
        if kind == 1:
            numbers = iter(
                struct.unpack_from(f"<{min(size, len(extra) - pos - 4) // 8}Q", extra, pos + 4)
            )
            full = next(numbers, full) if full == 0xFFFFFFFF else full
            packed = next(numbers, packed) if packed == 0xFFFFFFFF else packed
            where = next(numbers, where) if where == 0xFFFFFFFF else where
        pos += 4 + size
    return packed, where


def _local(data: Buffer, room: tuple[int, int], member: Member, raw: bytes, packed: int) -> Member:
    """Compare with the local header, and find where the data begins."""
    start, end = room
    at = member.start
    if at < start or at + 30 > end or data[at : at + 4] != b"PK\x03\x04":
        raise Malformed(f"a zip member without a header: {member.name[:60]!r}")
    name_size, extra = struct.unpack_from("<HH", data, at + 26)
    if bytes(data[at + 30 : at + 30 + name_size]) != raw:
        member.problems.append("has another name in its own header")
    (method,) = struct.unpack_from("<H", data, at + 8)
    if method != member.method:
        member.problems.append("is packed otherwise by its own header")
    member.start = at + 30 + name_size + extra
    member.end = member.start + packed
    if member.end > end:
        member.problems.append("is longer than the archive")
        member.start, member.end = min(member.start, end), end
    return member


def is_tar(data: Buffer, start: int, end: int) -> bool:
    """Whether a POSIX or GNU tar archive begins here."""
    return end - start >= 512 and data[start + 257 : start + 262] == b"ustar"


def tar_members(data: Buffer, start: int, end: int) -> Iterator[Member]:
    """Files of a tar archive, and as empty ones the links and sparse files, which are not followed.

    Raises:
        Malformed: a header cannot be read.
        Exhausted: more entries than are read.
    """
    pos, count = start, 0
    while pos + 512 <= end and any(data[pos : pos + 512]):
        header = bytes(data[pos : pos + 512])
        field_ = header[124:136]
        try:
            size = (
                int.from_bytes(field_[1:], "big")
                if field_[0] & 0x80
                else int(field_.strip(b" \0") or b"0", 8)
            )
        except ValueError as error:
            raise Malformed("a tar header without a size") from error
        if size < 0 or pos + 512 + size > end:
            raise Malformed("a tar member that is longer than the archive")
        kind = header[156:157]
        name = header[:100].split(b"\0")[0].decode("utf-8", "replace")
        if kind in (b"0", b"\0", b"7"):
            yield Member(name, pos + 512, pos + 512 + size)
        elif kind in (b"x", b"g", b"X"):  # newer headers that correct the one which follows
            told = bytes(data[pos + 512 : pos + 512 + size])
            if b" size=" in told or b" GNU.sparse." in told:
                yield Member(name, pos, pos, problems=["has a header that moves the next one"])
        elif kind not in (b"5", b"L", b"K"):
            yield Member(name, pos, pos, problems=["is a link or of a kind that is not read"])
        count += 1
        if count > MEMBERS:
            raise Exhausted("an archive of too many members")
        pos += 512 + (size + 511) // 512 * 512


def listed(reading: Reading, part: Part, entries: Iterator[Member]) -> list[Member]:
    """Members that are files, up to where the archive can be read."""
    found: list[Member] = []
    try:
        found.extend(entry for entry in entries if not entry.name.endswith("/"))
    except Malformed as error:
        reading.report(part, rules.MALFORMED, str(error))
    except Exhausted as error:
        reading.report(part, rules.BUDGET, str(error))
    return found


def unpacked(
    reading: Reading, part: Part, member: Member, raw: bool = False, script: bool = False
) -> Part:
    """The bytes of a member, and issues about its packing."""
    inner = part.within(member.start, member.end, member.name)
    for problem in member.problems:
        reading.report(inner, rules.MALFORMED, f"a member {problem}")
    if member.method == DEFLATED:
        inner = inflated(reading, inner, "deflate", part.within(0, 0, member.name, b""))
    elif member.method != STORED:
        reading.report(inner, rules.BUDGET, f"packed by method {member.method}, which is not read")
        inner = part.within(0, 0, member.name, b"")
    return replace(inner, raw=raw, script=script or inner.script)


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
