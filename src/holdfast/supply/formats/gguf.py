"""GGUF: counts, metadata, places of tensors, numbers; versions 1 to 3, in both orders of bytes.

Readers in C take these counts and lengths for the sizes of what they allocate and copy, so every
one is compared with the bytes that are there. Among the metadata is the chat template, which is a
program: `templates` reads it.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import prod

from holdfast.core.record import Severity
from holdfast.supply import templates, texts
from holdfast.supply.formats import pickles
from holdfast.supply.pickle_values import Buffer, Exhausted, Malformed, show
from holdfast.supply.reading import Part, Reading
from holdfast.supply.rules import Rule, Verdict

MOST = 3_000_000
"""Keys, strings and tensors that are read of one file: the largest vocabularies have half a million."""
LONGEST = 2**22
"""Bytes of one text that is looked into."""
DEEPEST = 4
MAGIC, SWAPPED = b"GGUF", b"FUGG"
SCANNER = "gguf_scan"
SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "B",
    10: "Q",
    11: "q",
    12: "d",
}
STRING, ARRAY = 8, 9
TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4),
    27: ("I64", 1, 8), 28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36),
}  # fmt: skip
"""Element types of ggml: name, elements of a block, bytes of a block."""
_OVERFLOWS = ("CVE-2024-25664", "CVE-2024-21825", "CVE-2024-23496", "CVE-2026-7482")
_SOURCE = (
    "A reader in C that believes it writes or reads outside of its memory. "
    "Get the file again from its source."
)
HEADER = Rule(
    "gguf_scan/header", "The header is wrong: {reason}", Severity.HIGH, _SOURCE, Verdict.MALFORMED,
    _OVERFLOWS,
)  # fmt: skip
LAYOUT = Rule(
    "gguf_scan/layout", "Tensors and bytes do not fit together: {reason}", Severity.HIGH, _SOURCE,
    Verdict.MALFORMED, _OVERFLOWS,
)  # fmt: skip
TYPE = Rule(
    "gguf_scan/unknown-type", "Not known: {subject}", Severity.MEDIUM,
    "Nothing can be said about what lies behind it.", Verdict.UNREAD,
)  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """What the file says about one tensor; `size` is None where its type is not known."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int
    at: int

    @property
    def size(self) -> int | None:
        """Bytes of its numbers."""
        if self.type not in TYPES:
            return None
        _, block, size = TYPES[self.type]
        return prod(self.shape) // block * size


@dataclass
class _Cursor:
    """A place in the file that moves forward and never leaves it."""

    data: Buffer
    pos: int
    end: int
    order: str = "<"
    version: int = 3
    left: int = MOST
    keys: set[str] = field(default_factory=set)

    def number(self, form: str) -> int | float:
        """One number of `struct`'s form."""
        size = struct.calcsize(form)
        if self.pos + size > self.end:
            raise Malformed("the header does not end within the file")
        (value,) = struct.unpack_from(self.order + form, self.data, self.pos)
        self.pos += size
        return value  # type: ignore[no-any-return]

    def count(self, form: str = "") -> int:
        """A count or a length, which has 32 bits in version 1 and 64 bits later."""
        return int(self.number(form or ("I" if self.version == 1 else "Q")))

    def skip(self, size: int, what: str) -> int:
        """Pass over bytes; where they began."""
        begin = self.pos
        if size > self.end - begin:
            raise Malformed(f"{what} of {size:,} bytes, of which {self.end - begin:,} are there")
        self.pos += size
        return begin

    def text(self, what: str, most: int = 65_535) -> str:
        """A string, which must be short enough to be looked into."""
        size = self.count()
        begin = self.skip(size, what)
        if size > most:
            raise Exhausted(f"{what} of {size:,} bytes, where at most {most:,} are read")
        return bytes(self.data[begin : self.pos]).decode("utf-8", "replace")

    def spend(self, count: int, least: int, what: str) -> range:
        """`count` things of at least `least` bytes each are to be read."""
        if count * least > self.end - self.pos:
            raise Malformed(f"{count:,} {what}, for which the file is too short")
        self.left -= count
        if self.left < 0:
            raise Exhausted(f"more than {MOST:,} keys, strings and tensors")
        return range(count)


def claims(part: Part) -> bool:
    """The mark of GGUF, in one of the two orders of bytes."""
    return part.head(4) in (MAGIC, SWAPPED)


def read(reading: Reading, part: Part) -> bool:
    """Everything but the numbers."""
    pickles.read(reading, replace(part, raw=True), named=False)
    cursor = _Cursor(part.data, part.start + 4, part.end)
    try:
        if not _version(reading, part, cursor):
            return True
        tensors, keys = cursor.count(), cursor.count()
        cursor.spend(tensors, 24 if cursor.version > 1 else 20, "tensors")
        alignment = 32
        for _ in cursor.spend(keys, 13 if cursor.version > 1 else 9, "keys"):
            alignment = _key(reading, part, cursor) or alignment
        if alignment < 8 or alignment & (alignment - 1) or alignment > 2**20:
            raise Malformed(f"an alignment of {alignment:,} bytes")
        found = [_tensor(reading, part, cursor) for _ in range(tensors)]
        if len({each.name for each in found}) < len(found):
            reading.report(part, HEADER, "two tensors have one name", cursor.pos)
    except Malformed as error:
        reading.report(part, HEADER, str(error), cursor.pos)
        return True
    padding = -(cursor.pos - part.start) % alignment
    _layout(reading, part, cursor.pos + padding, alignment, found)
    reading.took(part, "gguf")
    return True


def _version(reading: Reading, part: Part, cursor: _Cursor) -> bool:
    """Learn the version and the order of bytes; false where they are not known."""
    swapped = part.head(4) == SWAPPED or part.head(2, 4) == b"\0\0"
    cursor.order = ">" if swapped else "<"
    cursor.version = cursor.count("I")
    if cursor.version not in (1, 2, 3):
        what = f"version {cursor.version:,} of GGUF"
        reading.report(part, TYPE, "versions 1 to 3 are read", part.start + 4, what)
    return cursor.version in (1, 2, 3)


def _key(reading: Reading, part: Part, cursor: _Cursor) -> int:
    """One key and its value; the alignment, where it is the key of that, else 0."""
    at, name = cursor.pos, cursor.text("a key")
    if not name or name in cursor.keys or not name.isprintable():
        reading.report(part, HEADER, f"the key {show(name)} is doubled or no text", at)
    cursor.keys.add(name)
    kind = cursor.count("I")
    if kind == STRING:
        _text(reading, part, cursor, name)
    elif kind == ARRAY:
        _array(reading, part, cursor, name, DEEPEST)
    elif kind in SCALARS:
        value = cursor.number(SCALARS[kind])
        if kind == 7 and value > 1:
            reading.report(part, HEADER, f"{show(name)} is neither true nor false", at)
        if name == "general.alignment":
            if kind != 4 or not value:
                raise Malformed("an alignment that is none")
            return int(value)
    else:
        raise Malformed(f"{show(name)} has the unknown type {kind}")
    return 0


def _text(reading: Reading, part: Part, cursor: _Cursor, name: str) -> None:
    """A text that programs read: a template, or words that may hold code."""
    at = cursor.pos
    text = cursor.text(f"the text {show(name)}", LONGEST)
    if "template" in name:
        templates.report(reading, part, SCANNER, text, at)
    else:
        texts.review(reading, part, SCANNER, name, text, at)


def _array(reading: Reading, part: Part, cursor: _Cursor, name: str, depth: int) -> None:
    """Values of one type; those of a vocabulary are passed over."""
    kind, count = cursor.count("I"), cursor.count()
    if kind in SCALARS:
        size = struct.calcsize(SCALARS[kind])
        cursor.skip(size * count, f"an array {show(name)}")
    elif kind == STRING:
        cursor.spend(count, 4 if cursor.version == 1 else 8, "strings")
        if "template" in name:
            for _ in range(count):
                _text(reading, part, cursor, name)
        else:
            _strings(reading, part, cursor, name, count)
    elif kind == ARRAY and depth > 0:
        for _ in cursor.spend(count, 8, "arrays"):
            _array(reading, part, cursor, name, depth - 1)
    else:
        raise Malformed(f"{show(name)} is an array of the unknown type {kind}")


def _strings(reading: Reading, part: Part, cursor: _Cursor, name: str, count: int) -> None:
    """Pass over strings, then look into all of them at once, but for vocabularies, which hold any."""
    data, end, begin = cursor.data, cursor.end, cursor.pos
    length = struct.Struct(cursor.order + ("I" if cursor.version == 1 else "Q"))
    pos, size = begin, length.size
    for _ in range(count):
        if pos + size > end:
            raise Malformed("the header does not end within the file")
        pos += size + length.unpack_from(data, pos)[0]
    cursor.skip(pos - begin, f"strings of {show(name)}")
    if not name.startswith("tokenizer.ggml."):
        text = bytes(data[begin : min(pos, begin + LONGEST)]).decode("latin-1")
        texts.review(reading, part, SCANNER, name, text, begin)


def _tensor(reading: Reading, part: Part, cursor: _Cursor) -> Tensor:
    """Name, shape, type and place of one tensor."""
    at, name = cursor.pos, cursor.text("the name of a tensor")
    dimensions = cursor.count("I")
    if dimensions > 4:
        raise Malformed(f"{show(name)} has {dimensions:,} dimensions, and readers have room for 4")
    shape = tuple(cursor.count() for _ in range(dimensions))
    tensor = Tensor(name, shape, cursor.count("I"), cursor.count("Q"), at)
    if prod(shape) >= 2**63:
        raise Malformed(f"{show(name)} has more numbers than 63 bits can count")
    if tensor.type not in TYPES:
        subject = f"the element type {tensor.type:,}"
        reading.report(part, TYPE, f"{show(name)} has it", at, subject)
    elif shape and shape[0] % TYPES[tensor.type][1]:
        reading.report(part, LAYOUT, f"{show(name)} ends within a block of its type", at)
    return tensor


def _layout(reading: Reading, part: Part, body: int, alignment: int, found: list[Tensor]) -> None:
    """Compare the places of the tensors with each other and with the bytes that are there."""
    length = max(part.end - body, 0)
    for tensor in found:
        if tensor.offset % alignment:
            reading.report(part, LAYOUT, f"{show(tensor.name)} is not aligned", tensor.at)
        if tensor.offset + (tensor.size or 0) > length:
            reason = f"{show(tensor.name)} reaches {tensor.offset + (tensor.size or 0) - length:,} "
            reading.report(part, LAYOUT, reason + "bytes behind the end", tensor.at)
    ordered = sorted(found, key=lambda tensor: (tensor.offset, tensor.size or 0))
    for one, next_ in pairwise(ordered):
        if one.size is not None and one.offset + one.size > next_.offset:
            reason = f"{show(next_.name)} overlaps {show(one.name)}"
            reading.report(part, LAYOUT, reason, next_.at)
    for start, end in _gaps(ordered, length, alignment):
        reading.report(part, LAYOUT, f"no tensor owns {end - start:,} bytes", body + start)
        reading.read(part.within(body + start, body + end, "bytes that no tensor owns"))


def _gaps(ordered: list[Tensor], length: int, alignment: int) -> Iterator[tuple[int, int]]:
    """Bytes between and behind tensors that are more than padding; none where a type is not known."""
    if any(tensor.size is None for tensor in ordered):
        return
    at = 0
    for tensor in ordered:
        if at < min(tensor.offset, length):
            yield at, min(tensor.offset, length)
        at = max(at, tensor.offset + (tensor.size or 0))
        at += -at % alignment
    if at < length:
        yield at, length
