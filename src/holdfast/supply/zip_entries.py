"""Entries of zip archives, as every reader could take them: by the directory, and one by one.

Readers take the directory's word, the headers' word, or the last of several ends. So whatever lies
in the archive is found: members of the directory, headers that no directory lists, and what lies
between; wherever two readers would differ, that is written down.
"""

import re
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from holdfast.supply.archives import MEMBERS, PACKED, Member, blank
from holdfast.supply.pickle_values import Buffer, Exhausted, Malformed, show

LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_DESCRIPTOR = b"PK\x07\x08"
_FULL = 0xFFFFFFFF
_TWINS = 16
"""Entries of the directory that may have the same bytes before no more are read."""
_GAPS = 64
"""Places between members that are looked into."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass
class Directory:
    """What a zip archive holds.

    Attributes:
        members: files, folders and links, as the directory has them.
        hidden: members that the directory does not list.
        gaps: from where to where bytes lie that belong to nobody.
        problems: what is wrong with it as a whole.
    """

    members: list[Member] = field(default_factory=list)
    hidden: list[Member] = field(default_factory=list)
    gaps: list[tuple[int, int]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def find(data: Buffer, start: int, end: int) -> int | None:
    """Where the end record lies, None where there is none."""
    found = data.rfind(END, max(start, end - 65_557), max(start, end - 18))
    return found if found >= 0 else None


def directory(data: Buffer, start: int, end: int, record: int) -> Directory:
    """Everything between `start` and `end`, by the end record at `record`.

    Raises:
        Malformed: this is no end record, or its directory is not there at all.
        Exhausted: there are more members than are read.
    """
    found = Directory()
    (comment,) = struct.unpack_from("<H", data, record + 20)
    last, count, size, offset = _record(data, start, record, found)
    if count > MEMBERS:
        raise Exhausted(f"an archive of {count} members")
    pos = last - size
    base = pos - offset
    if pos < start or base < start:
        raise Malformed("a zip archive whose directory lies outside of it")
    if pos < last and data[pos : pos + 4] != CENTRAL:
        raise Malformed("a zip archive whose directory is damaged")
    try:
        found.members.extend(_entries(data, (start, end), (pos, last), base))
    except Malformed as error:
        found.problems.append(str(error))
    if len(found.members) != count and not found.problems:
        found.problems.append(
            f"an archive that says to have {count} members and has another number"
        )
    behind = min(record + 22 + comment, end)
    if record + 22 + comment > end:
        found.problems.append("an archive whose comment is cut")
    said = bytes(data[record + 22 : behind]).decode("latin-1")
    if _CONTROL.search(said.translate({9: 32, 10: 32, 13: 32})):
        found.problems.append("an archive whose comment is no text")
    _cover(data, (start, end), found, (pos, behind))
    return found


def _record(data: Buffer, start: int, record: int, found: Directory) -> tuple[int, int, int, int]:
    """Where the directory ends, how many members and bytes it has, and where it says to begin."""
    told: tuple[int, int, int] = struct.unpack_from("<HII", data, record + 10)
    if record - 20 < start or data[record - 20 : record - 16] != b"PK\x06\x07":
        return (record, *told)
    (place,) = struct.unpack_from("<Q", data, record - 12)
    last = record - 76
    if last < start or data[last : last + 4] != b"PK\x06\x06":
        raise Malformed("a zip archive whose 64-bit record is missing")
    wide: tuple[int, int, int] = struct.unpack_from("<QQQ", data, last + 32)
    for short, long, most in zip(told, wide, (0xFFFF, _FULL, _FULL), strict=True):
        if short not in (long, most):
            found.problems.append("an archive whose two ends differ")
    if place != wide[1] + wide[2]:
        found.problems.append("an archive whose end leads elsewhere")
    return (last, *wide)


def streamed(data: Buffer, start: int, end: int) -> Directory:
    """Whatever headers there are, where no directory can be read."""
    found = Directory()
    _cover(data, (start, end), found, (end, end))
    return found


def _entries(
    data: Buffer, room: tuple[int, int], place: tuple[int, int], base: int
) -> Iterator[Member]:
    """Members of the directory, each compared with the header before its data."""
    pos, last = place
    while pos < last:
        if pos + 46 > last or data[pos : pos + 4] != CENTRAL:
            raise Malformed("a zip archive whose directory is damaged")
        system, flags, method = struct.unpack_from("<xBxxHH", data, pos + 4)
        crc, packed, full, name_size, extra, comment = struct.unpack_from("<IIIHHH", data, pos + 16)
        mode, where = struct.unpack_from("<II", data, pos + 38)
        raw = bytes(data[pos + 46 : pos + 46 + name_size])
        more = bytes(data[pos + 46 + name_size : pos + 46 + name_size + extra])
        if pos + 46 + name_size + extra + comment > last:
            raise Malformed("a zip archive whose directory is cut")
        packed, full, where = _wide(more, packed, full, where)
        member = Member(_text(raw, flags), 0, 0, method, header=base + where, crc=crc, size=full)
        member.names = _others(more)
        _local(data, room, member, raw, packed)
        if _CONTROL.search(member.name):
            member.problems.append("has a name that readers cut or show otherwise")
        if flags & 0x2041:
            member.problems.append("is marked as encrypted")
        if system == 3 and (mode >> 28) == 10:
            link = bytes(data[member.start : min(member.end, member.start + 4096)])
            member.link = link.decode("utf-8", "replace") if method == 0 else "an unread place"
        yield member
        pos += 46 + name_size + extra + comment


def _text(raw: bytes, flags: int) -> str:
    return raw.decode("utf-8" if flags & 0x800 else "cp437", "replace")


def _wide(extra: bytes, packed: int, full: int, where: int) -> tuple[int, int, int]:
    """Sizes and place from the 64-bit extra field, where the short fields are full."""
    for kind, body in _extras(extra):
        if kind == 1:
            numbers = iter(struct.unpack_from(f"<{len(body) // 8}Q", body))
            full = next(numbers, full) if full == _FULL else full
            packed = next(numbers, packed) if packed == _FULL else packed
            where = next(numbers, where) if where == _FULL else where
    return packed, full, where


def _others(extra: bytes) -> tuple[str, ...]:
    """The name in Unicode that some readers prefer."""
    return tuple(b[5:].decode("utf-8", "replace") for k, b in _extras(extra) if k == 0x7075)


def _extras(extra: bytes) -> Iterator[tuple[int, bytes]]:
    pos = 0
    while pos + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, pos)
        yield kind, extra[pos + 4 : pos + 4 + size]
        pos += 4 + size


def _local(data: Buffer, room: tuple[int, int], member: Member, raw: bytes, packed: int) -> None:
    """Compare with the header before the data, and find where the data begins."""
    start, end = room
    at = member.header
    if at < start or at + 30 > end or data[at : at + 4] != LOCAL:
        member.problems.append("has no header of its own")
        member.start = member.end = member.header = min(max(at, start), end)
        return
    flags, method = struct.unpack_from("<HH", data, at + 6)
    crc, own, full, name_size, extra = struct.unpack_from("<IIIHH", data, at + 14)
    if bytes(data[at + 30 : at + 30 + name_size]) != raw:
        member.problems.append("has another name in its own header")
    if method != member.method:
        member.problems.append("is packed otherwise by its own header")
    streams = flags & 8 and (crc, own, full) == (0, 0, 0)
    own, full, _ = _wide(
        bytes(data[at + 30 + name_size : at + 30 + name_size + extra]), own, full, 0
    )
    if not streams and own != _FULL and (crc, own, full) != (member.crc, packed, member.size):
        member.problems.append("has another size or checksum in its own header")
    member.start = at + 30 + name_size + extra
    member.end = member.start + packed
    if member.end > end:
        member.problems.append("is longer than the archive")
        member.start, member.end = min(member.start, end), end


def _cover(data: Buffer, room: tuple[int, int], found: Directory, tail: tuple[int, int]) -> None:
    """Which bytes belong to somebody; members in the others, and what overlaps."""
    found.members.sort(key=lambda member: member.header)
    pos, spent, names = room[0], 0, set[str]()
    places: Counter[int] = Counter()
    for member in found.members:
        if member.header < pos and member.end > member.header:
            member.problems.append("shares bytes with another member")
        if member.header > pos:
            _gap(data, pos, member.header, found)
        pos = max(pos, _behind(data, member, tail[0]))
        if member.name in names:
            member.problems.append("has the name of another member")
        names.add(member.name)
        places[member.header] += 1
        spent += member.end - member.start
        if places[member.header] > _TWINS or spent > 2 * (tail[0] - room[0]) + 2**20:
            raise Exhausted("an archive whose members share their bytes many times")
    if tail[0] > pos:
        _gap(data, pos, tail[0], found)
    if room[1] > tail[1]:
        _gap(data, tail[1], room[1], found)


def _behind(data: Buffer, member: Member, last: int) -> int:
    """Where a member ends, with the descriptor that can follow it."""
    if member.end == member.header:
        return member.header
    flags = struct.unpack_from("<H", data, member.header + 6)[0]
    if flags & 8:
        end = member.end
        marked = 4 if data[end : end + 4] == _DESCRIPTOR else 0
        for form in ("<IQQ", "<III"):
            size = struct.calcsize(form)
            if end + marked + size <= last:
                told = struct.unpack_from(form, data, end + marked)
                if told == (member.crc, member.end - member.start, member.size):
                    return end + marked + size
    return member.end


def _gap(data: Buffer, start: int, end: int, found: Directory) -> None:
    """Members between `start` and `end` that no directory lists, and bytes that are of none."""
    pos = start
    while pos < end:
        at = data.find(LOCAL, pos, end)
        stop = end if at < 0 else at
        if stop > pos and not blank(data, pos, stop) and len(found.gaps) < _GAPS:
            found.gaps.append((pos, stop))
        if at < 0:
            return
        if len(found.hidden) >= MEMBERS:
            raise Exhausted("an archive of too many members")
        member = _alone(data, at, end)
        found.hidden.append(member)
        pos = max(member.end, at + 4)
        if data[pos : pos + 4] == _DESCRIPTOR:
            pos = min(pos + 16, end)


def _alone(data: Buffer, at: int, end: int) -> Member:
    """A member by its own header."""
    if at + 30 > end:
        return Member("a cut header", at, end, header=at, problems=["is cut"])
    flags, method = struct.unpack_from("<HH", data, at + 6)
    crc, packed, full, name_size, extra = struct.unpack_from("<IIIHH", data, at + 14)
    raw = bytes(data[at + 30 : min(at + 30 + name_size, end)])
    begin = min(at + 30 + name_size + extra, end)
    packed, full, _ = _wide(bytes(data[at + 30 + name_size : begin]), packed, full, 0)
    known = not (flags & 8 and packed == 0) and begin + packed <= end
    stop = begin + packed
    if not known:
        marks = (data.find(mark, begin, end) for mark in (LOCAL, _DESCRIPTOR, CENTRAL))
        stop = min((mark for mark in marks if mark >= 0), default=end)
    member = Member(_text(raw, flags), begin, stop, method, header=at)
    if known:
        member.crc, member.size = crc, full
    if method not in PACKED and method != 0:
        member.problems.append(f"is packed by method {show(method)}")
    return member
