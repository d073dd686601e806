"""MessagePack: checkpoints of Flax, whose arrays are extension types, and any other document.

The format itself holds values only. Programs give meaning to extension types, and one known reader
of NumPy arrays unpickles those of objects.
"""

import re
import struct
from dataclasses import dataclass, field, replace
from math import prod

from holdfast.core.record import Severity
from holdfast.supply import texts
from holdfast.supply.formats import pickles
from holdfast.supply.pickle_values import Exhausted, Malformed, show
from holdfast.supply.reading import Part, Reading
from holdfast.supply.rules import Rule, Verdict

MOST = 1_500_000
"""Values of one document that are read."""
DEEPEST = 256
LONGEST = 2**20
SCANNER = "archive_scan"
_SOURCE = "Get the file again from its source, or ask for the weights as safetensors."
DAMAGED = Rule(
    "archive_scan/msgpack-malformed", "The MessagePack is malformed: {reason}", Severity.HIGH,
    _SOURCE, Verdict.MALFORMED,
)  # fmt: skip
EXTENSION = Rule(
    "archive_scan/msgpack-extension", "A value only some program can read: {subject}",
    Severity.MEDIUM, "Find out which program reads it, and what it does then.", Verdict.UNREAD,
)  # fmt: skip
OBJECTS = Rule(
    "archive_scan/msgpack-objects", "An array of objects, which readers unpickle: {subject}",
    Severity.HIGH, "Do not load it with msgpack-numpy. " + _SOURCE,
)  # fmt: skip
_ITEMS = {
    "bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "int64": 8,
    "uint64": 8, "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "complex64": 8,
    "complex128": 16, "int4": 1, "uint4": 1,
}  # fmt: skip
_FLAX = {1: "array", 2: "complex number", 3: "scalar"}
_FIXED = {0xCA: "f", 0xCB: "d", 0xCC: "B", 0xCD: "H", 0xCE: "I", 0xCF: "Q", 0xD0: "b", 0xD1: "h",
          0xD2: "i", 0xD3: "q"}  # fmt: skip
_SIZED = {0xC4: ("bin", 1), 0xC5: ("bin", 2), 0xC6: ("bin", 4), 0xD9: ("str", 1), 0xDA: ("str", 2),
          0xDB: ("str", 4), 0xDC: ("array", 2), 0xDD: ("array", 4), 0xDE: ("map", 2), 0xDF: ("map", 4),
          0xC7: ("ext", 1), 0xC8: ("ext", 2), 0xC9: ("ext", 4)}  # fmt: skip
_START = re.compile(
    rb"(?:[\x81-\x8f]|\xde..|\xdf....)(?:[\xa0-\xbf]|[\xd9-\xdb]|[\xc4-\xc6])", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Value:
    """One value: kind, number of items or the number itself, and where its bytes lie."""

    kind: str
    amount: int = 0
    start: int = 0
    end: int = 0


@dataclass
class _Cursor:
    """A place that moves forward from value to value."""

    part: Part
    pos: int
    end: int
    left: int = MOST

    def take(self, size: int) -> bytes:
        """Bytes of a number."""
        if size > self.end - self.pos:
            raise Malformed("a value that does not end")
        self.pos += size
        return bytes(self.part.data[self.pos - size : self.pos])

    def value(self) -> Value:
        """The next value; items of arrays and maps follow by themselves."""
        self.left -= 1
        if self.left < 0:
            raise Exhausted(f"MessagePack of more than {MOST:,} values")
        (code,) = self.take(1)
        if code < 0x80 or code >= 0xE0:
            return Value("int", code if code < 0x80 else code - 256)
        if code < 0x90:
            return self.items("map", code & 15)
        if code < 0xA0:
            return self.items("array", code & 15)
        if code < 0xC0:
            return self.run("str", code & 31)
        if code in _FIXED:
            (number,) = struct.unpack(">" + _FIXED[code], self.take(struct.calcsize(_FIXED[code])))
            return Value("int", number) if isinstance(number, int) else Value("float")
        if 0xD4 <= code <= 0xD8:
            return self.run("ext", 1 << (code - 0xD4))
        if code in _SIZED:
            kind, width = _SIZED[code]
            size = int.from_bytes(self.take(width), "big")
            return self.items(kind, size) if kind in ("array", "map") else self.run(kind, size)
        if code == 0xC1:
            raise Malformed("the code that is never used")
        return Value("other", code)

    def items(self, kind: str, count: int) -> Value:
        """An array or a map, of which every item has at least a byte."""
        if count * (2 if kind == "map" else 1) > self.end - self.pos:
            raise Malformed(f"{count:,} items, for which the file is too short")
        return Value(kind, count)

    def run(self, kind: str, size: int) -> Value:
        """Text, bytes, or an extension with its type."""
        type_ = int.from_bytes(self.take(1), "big", signed=True) if kind == "ext" else 0
        if size > self.end - self.pos:
            raise Malformed(f"{size:,} bytes, of which {self.end - self.pos:,} are there")
        self.pos += size
        return Value(kind, type_, self.pos - size, self.pos)


def claims(part: Part) -> bool:
    """A map whose first key is a text."""
    return _START.match(part.head(8)) is not None


def read(reading: Reading, part: Part) -> bool:
    """Every value; false where they do not end with the file and nothing says that they should."""
    named, cursor = part.suffix in (".msgpack", ".flax"), _Cursor(part, part.start, part.end)
    walk = _Walk(reading, part)
    try:
        walk.document(cursor)
    except Malformed as error:
        if not named:
            return False
        reading.report(part, DAMAGED, str(error), cursor.pos)
    if cursor.pos < part.end and not named:
        return False
    for report in walk.found:
        reading.report(part, *report)
    for begin, end, name in walk.runs:
        pickles.read(reading, replace(part.within(begin, end, name), raw=True), named=False)
    reading.took(part, "msgpack", cursor.pos - part.start)
    if cursor.pos < part.end:
        reading.report(
            part, DAMAGED, f"{part.end - cursor.pos:,} bytes behind the document", cursor.pos
        )
        reading.read(part.within(cursor.pos, part.end, "bytes behind the document"))
    for name, begin, end in walk.words:
        text = bytes(part.data[begin : min(end, begin + LONGEST)]).decode("utf-8", "replace")
        texts.review(reading, part, SCANNER, name, text, begin)
    return True


@dataclass
class _Walk:
    """What was found in one document; told only when it is one."""

    reading: Reading
    part: Part
    found: list[tuple[Rule, str, int, str]] = field(default_factory=list)
    runs: list[tuple[int, int, str]] = field(default_factory=list)
    words: list[tuple[str, int, int]] = field(default_factory=list)
    told: set[int] = field(default_factory=set)

    def document(self, cursor: _Cursor) -> None:
        """One value and all within it. `open` counts what is left of each array and map."""
        open_: list[int] = [1]
        keys: list[str] = []
        while open_:
            if open_[-1] == 0:
                open_.pop()
                continue
            open_[-1] -= 1
            value = cursor.value()
            if value.kind in ("array", "map"):
                open_.append(value.amount * (2 if value.kind == "map" else 1))
                if len(open_) > DEEPEST:
                    raise Exhausted("values too deep within values")
            elif value.kind == "ext":
                self.extension(value)
            elif value.kind == "bin":
                self.bytes_(value)
            if value.kind == "str" or (value.kind == "bin" and value.end - value.start < 8):
                self.text(value, keys)

    def text(self, value: Value, keys: list[str]) -> None:
        """A key or a text; of those in a row, whether they say that an array holds objects."""
        head = bytes(self.part.data[value.start : min(value.end, value.start + 16)])
        keys.append(head.decode("latin-1"))
        del keys[:-4]
        if keys[-2:] in (["kind", "O"], ["type", "|O"], ["type", "O"], ["dtype", "object"]):
            self.found.append((OBJECTS, "its type is that of objects", value.start, "an array"))
        if value.end - value.start > 6:
            self.words.append(("a text", value.start, value.end))

    def bytes_(self, value: Value) -> None:
        """Bytes, which are numbers unless a pickle machine would follow them."""
        if value.end - value.start > 1 and len(self.runs) < 20_000:
            self.runs.append(
                (value.start, value.end, f"bytes at {value.start - self.part.start:,}")
            )

    def extension(self, value: Value) -> None:
        """One of Flax's types, a time, or what only some program knows."""
        if value.amount in _FLAX:
            try:
                self.array(value)
            except Malformed as error:
                self.found.append((DAMAGED, str(error), value.start, ""))
        elif value.amount != -1 and value.amount not in self.told:
            self.told.add(value.amount)
            subject = f"extension type {value.amount}"
            self.found.append((EXTENSION, "no type of Flax's", value.start, subject))

    def array(self, value: Value) -> None:
        """Shape, type and numbers of an array of Flax."""
        inner = _Cursor(self.part, value.start, value.end, 200)
        if inner.value() not in (Value("array", 3), Value("array", 2)):
            raise Malformed("an array without its three parts")
        if value.amount == 2:
            return
        first = inner.value()
        shape = (
            [inner.value() for _ in range(min(first.amount, 65))] if first.kind == "array" else []
        )
        name, data = inner.value(), inner.value()
        if name.kind != "str" or data.kind != "bin" or any(n.kind != "int" for n in shape):
            raise Malformed("an array whose parts are of other kinds")
        dtype = bytes(self.part.data[name.start : min(name.end, name.start + 32)]).decode("latin-1")
        count = prod(n.amount for n in shape)
        item = 1 if dtype.startswith("float8") else _ITEMS.get(dtype)
        if dtype.startswith("object"):
            self.found.append((OBJECTS, "its type is that of objects", value.start, show(dtype)))
            self.bytes_(data)
        elif item is None or any(n.amount < 0 for n in shape):
            raise Malformed(f"an array of the type {show(dtype)}")
        elif count * item != data.end - data.start:
            raise Malformed(f"an array of {data.end - data.start:,} bytes, and another shape")
