"""Tar archives: torch's oldest format, .nemo, and any other."""

import struct

from holdfast.supply import archives, rules, tar_entries
from holdfast.supply.formats import pickles, zips
from holdfast.supply.pickle_findings import tell
from holdfast.supply.pickle_machine import Stream
from holdfast.supply.pickle_opcodes import run
from holdfast.supply.pickle_values import Exhausted, Malformed, Name
from holdfast.supply.reading import Part, Reading

_TORCH = {"storages", "tensors", "pickle"}


def claims(part: Part) -> bool:
    """The mark of POSIX and GNU archives, or a header whose checksum fits."""
    return tar_entries.is_tar(part.data, part.start, part.end)


def read(reading: Reading, part: Part) -> bool:
    """Every member, and the archive itself as a pickle, which its first name can be."""
    pickles.read(reading, part, named=False)
    found, pos = list[archives.Member](), part.start
    try:
        for member, behind in tar_entries.members(part.data, part.start, part.end):
            pos = behind
            found.append(member)
    except Malformed as error:
        reading.report(part, rules.MALFORMED, str(error), pos)
    except Exhausted as error:
        reading.report(part, rules.BUDGET, str(error), pos)
    before = len(reading.pieces)
    holding = archives.listed(reading, part, found)
    if {member.name.removeprefix("./") for member in holding} >= _TORCH:
        holding = _torch(reading, part, holding)
    zips.members(reading, part, holding)
    _rest(reading, part, pos)
    if len(reading.pieces) == before:
        reading.report(part, rules.UNKNOWN, "an archive in which no part is of a known kind")
    return True


def _rest(reading: Reading, part: Part, pos: int) -> None:
    """What lies behind the zeros at the end: some readers go on."""
    while pos < part.end and archives.blank(part.data, pos, min(pos + 512, part.end)):
        pos += 512
    if pos < part.end:
        what = f"{part.end - pos:,} bytes behind the end of a tar archive"
        reading.report(part, rules.TRAILING, what, pos)
        reading.read(part.within(pos, part.end, f"bytes from {pos - part.start}"))


def _torch(reading: Reading, part: Part, found: list[archives.Member]) -> list[archives.Member]:
    """Torch's first format: pickles with numbers between them. The members that are left."""
    left = []
    for member in found:
        name = member.name.removeprefix("./")
        walk = {"storages": _storages, "tensors": _tensors}.get(name)
        if walk is None:
            left.append(member)
            continue
        inner = archives.unpacked(reading, part, member)
        try:
            pos = walk(reading, inner)
            if pos != inner.end:
                raise Malformed(f"{inner.end - pos:,} bytes that no tensor asks for")
        except (Malformed, struct.error) as error:
            reading.report(inner, rules.MALFORMED, f"the {name} of a torch file: {error}")
            reading.read(inner)
    return left


def _pickle(reading: Reading, part: Part, pos: int) -> Stream:
    """Follow one pickle.

    Raises:
        Malformed: it does not end.
    """
    stream = run(Stream(part.data, pos, part.end, reading.allowance))
    reading.opcodes += stream.steps
    for note in stream.notes.values():
        if note.kind != "loader":
            tell(reading, part, note)
    reading.took(part, "pickle", stream.pos - pos)
    if not stream.done:
        raise Malformed("a pickle that does not end")
    return stream


def _count(stream: Stream) -> int:
    if type(stream.value) is not int or not 0 <= stream.value <= archives.MEMBERS:
        raise Malformed("a number of them that is none")
    return stream.value


def _storages(reading: Reading, part: Part) -> int:
    """(key, place, type) and the numbers of each storage, then the views of them."""
    stream = _pickle(reading, part, part.start)
    for _ in range(_count(stream)):
        stream = _pickle(reading, part, stream.pos)
        told = stream.value
        kind = told[2] if isinstance(told, tuple) and len(told) == 3 else None
        size = (
            pickles.ELEMENT.get(kind.name.removesuffix("Storage"))
            if isinstance(kind, Name)
            else None
        )
        (length,) = struct.unpack_from("<q", part.data, stream.pos)
        if size is None or not 0 <= length * size <= part.end - stream.pos - 8:
            raise Malformed("a storage of an unknown type or length")
        stream.pos += 8 + length * size
    return _pickle(reading, part, stream.pos).pos


def _tensors(reading: Reading, part: Part) -> int:
    """(key, storage, type) of each tensor, and where it lies in its storage."""
    stream = _pickle(reading, part, part.start)
    for _ in range(_count(stream)):
        stream = _pickle(reading, part, stream.pos)
        (axes,) = struct.unpack_from("<i", part.data, stream.pos)
        if not 0 <= axes <= 64 or stream.pos + 16 + 16 * axes > part.end:
            raise Malformed("a tensor with more axes than there are")
        stream.pos += 16 + 16 * axes
    return stream.pos
