"""Entries of tar archives: POSIX, GNU and the oldest ones, with the names that readers may give them."""

from collections.abc import Iterator

from holdfast.supply.archives import MEMBERS, Member
from holdfast.supply.pickle_values import Buffer, Exhausted, Malformed

BLOCK = 512
_FILES, _FOLDER = (b"0", b"\0", b"7"), b"5"
_LINKS = {b"1": "hard", b"2": "symbolic"}
_KINDS = {b"3": "a device", b"4": "a device", b"6": "a named pipe", b"S": "a sparse file"}
_HEADERS = 2**20
"""Bytes of one header of names: a path is far shorter."""
_OCTAL = 8**11
"""Sizes from which on the plain field is too short."""


def is_tar(data: Buffer, start: int, end: int) -> bool:
    """Whether a tar archive begins here: by its mark, or by the checksum of its first header."""
    if end - start < BLOCK:
        return False
    header = bytes(data[start : start + BLOCK])
    return header[257:262] == b"ustar" or (header[0] != 0 and _sums(header))


def _sums(header: bytes) -> bool:
    """Whether the checksum fits; some old writers took bytes for signed."""
    try:
        told = _number(header[148:156])
    except Malformed:
        return False
    rest = header[:148] + b" " * 8 + header[156:]
    return told in (sum(rest), sum(rest) - 256 * sum(byte > 127 for byte in rest))


def _number(field: bytes) -> int:
    """A number of a header.

    Raises:
        Malformed: there is none.
    """
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big") if field[0] == 0x80 else -1
    text = field.split(b"\0")[0].strip(b" ") or b"0"
    if not all(48 <= byte < 56 for byte in text):
        raise Malformed("a tar header without a size")
    return int(text, 8)


def members(data: Buffer, start: int, end: int) -> Iterator[tuple[Member, int]]:
    """Entries, each with the place behind it.

    Raises:
        Malformed: a header cannot be read.
        Exhausted: more entries than are read.
    """
    pos, count = start, 0
    long: list[tuple[str, str]] = []
    seen: set[str] = set()
    while pos + BLOCK <= end and any(data[pos : pos + BLOCK]):
        header = bytes(data[pos : pos + BLOCK])
        kind = header[156:157]
        size, moved = _size(header, long)
        begin, stop = pos + BLOCK, pos + BLOCK + size
        if size < 0 or stop > end:
            raise Malformed("a tar member that is longer than the archive")
        pos, count = min(end, stop + -size % BLOCK), count + 1
        if count > MEMBERS:
            raise Exhausted("an archive of too many members")
        if kind in _SAYS:
            if size > _HEADERS:
                raise Exhausted("a tar header longer than is read")
            long += _long(kind, bytes(data[begin:stop]))
            if kind == b"g" and long:
                yield Member(_GLOBAL, begin, begin, header=begin, problems=[_ALL]), pos
            continue
        member = _member(header, kind, long, Member("", begin, stop, header=begin - BLOCK))
        wrong = {
            "has a header that moves the next one": moved,
            "has a header with a wrong checksum": not _sums(header),
            "has the name of another member": member.name in seen,
        }
        member.problems += [what for what, is_so in wrong.items() if is_so]
        seen.add(member.name)
        long = []
        yield member, pos
    if long:
        raise Malformed("a tar header that says something of nothing")


_SAYS = (b"x", b"X", b"g", b"L", b"K")
_GLOBAL, _ALL = "a global header", "has a header that speaks of all members that follow"


def _size(header: bytes, long: list[tuple[str, str]]) -> tuple[int, bool]:
    """Bytes of an entry by the newest header, and whether older readers would find another number."""
    size, kind = _number(header[124:136]), header[156:157]
    sizes = [value for key, value in long if key == "size"]
    moved = any(key.startswith("GNU.sparse.") for key, _ in long)
    if kind in (b"1", b"2", b"3", b"4", b"5", b"6"):
        return 0, moved or (size > 0 and kind != _FOLDER)  # not every reader skips what follows
    if not sizes or kind in _SAYS:
        return size, moved
    if not (sizes[-1].isascii() and sizes[-1].isdigit() and len(sizes[-1]) < 20):
        raise Malformed("a tar header without a size")
    told = int(sizes[-1])
    return told, moved or len(sizes) > 1 or (told != size and (size != 0 or told < _OCTAL))


def _member(header: bytes, kind: bytes, long: list[tuple[str, str]], member: Member) -> Member:
    """Name, kind and problems of an entry."""
    name = header[:100].split(b"\0")[0].decode("utf-8", "replace")
    prefix = header[345:500].split(b"\0")[0].decode("utf-8", "replace")
    if prefix and header[257:263] == b"ustar\0":
        name = f"{prefix}/{name}"
    paths = [value for key, value in long if key == "path"]
    links = [value for key, value in long if key == "linkpath"]
    if len(set(paths)) > 1 or len(set(links)) > 1:
        member.problems.append("has several names")
    member.name, member.names = (paths or [name])[-1], (*paths, name)
    if "\0" in member.name:
        member.problems.append("has a name that readers cut or show otherwise")
    if kind in _LINKS:
        old = header[157:257].split(b"\0")[0].decode("utf-8", "replace")
        member.link = (links or [old])[-1] or "nowhere"
        member.special = "a hard link" if kind == b"1" else ""
    elif kind == _FOLDER:
        member.name = member.name.rstrip("/") + "/"
    elif kind not in _FILES:
        member.special = _KINDS.get(kind, "something of a kind that is not read")
    elif member.name.endswith("/") and member.end > member.start:
        member.problems.append("is a folder that holds bytes")
    return member


def _long(kind: bytes, text: bytes) -> list[tuple[str, str]]:
    """What a header says of the next entry."""
    if kind in (b"L", b"K"):
        value = text.split(b"\0")[0].decode("utf-8", "replace")
        return [("path" if kind == b"L" else "linkpath", value)]
    found, pos = [], 0
    while pos < len(text) and text[pos] != 0:
        space = text.find(b" ", pos, pos + 20)
        digits = text[pos:space] if space > 0 else b""
        size = int(digits) if digits.isdigit() else 0
        record = text[space + 1 : pos + size]
        if size < 5 or pos + size > len(text) or b"=" not in record or record[-1:] != b"\n":
            raise Malformed("a tar header whose records cannot be read")
        key, _, value = record[:-1].decode("utf-8", "replace").partition("=")
        if key in ("path", "linkpath", "size") or key.startswith("GNU.sparse."):
            found.append((key, value))
        pos += size
    return found
