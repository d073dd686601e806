"""TensorFlow Lite models: flat buffers, whose every offset a reader in C follows.

The operators are numbers, or names for those that another library must bring. Files that belong to
the model may follow behind it as a zip archive.
"""

import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from math import prod

from holdfast.core.record import Severity
from holdfast.supply import archives, rules, texts, tf_names, zip_entries
from holdfast.supply.formats import pickles, zips
from holdfast.supply.pickle_values import Buffer, Exhausted, Malformed, show
from holdfast.supply.reading import Part, Reading
from holdfast.supply.rules import Rule, Verdict

MARK = b"TFL3"
MOST = 1_000_000
"""Tables and numbers that are read of one model."""
LONGEST = 2**20
_SOURCE = "Get the file again from its source, or convert the model anew."
LAYOUT = Rule(
    "savedmodel_scan/tflite-layout", "The flat buffer leads outside of itself: {reason}",
    Severity.HIGH, "A reader that does not check it reads foreign memory. " + _SOURCE,
    Verdict.MALFORMED, ("CVE-2020-15211", "CVE-2022-23558"),
)  # fmt: skip
FLEX = Rule(
    "savedmodel_scan/tflite-callable", "The model runs an operator of TensorFlow that reaches out: "
    "{subject}", Severity.HIGH, "Do not load it with the delegate for TensorFlow's operators.",
)  # fmt: skip
CUSTOM = Rule(
    "savedmodel_scan/tflite-custom", "The model needs code of another library: {subject}",
    Severity.MEDIUM, "Review the library that brings the operator, or refuse the model.",
    Verdict.UNREAD,
)  # fmt: skip
_OWN = frozenset({"TFLite_Detection_PostProcess", "AudioSpectrogram", "Mfcc", "RandomUniform",
                  "RandomStandardNormal", "NumericVerify"})  # fmt: skip
"""Custom operators that are part of TensorFlow Lite's own library."""
_SIZES = {0: 4, 1: 2, 2: 4, 3: 1, 4: 8, 6: 1, 7: 2, 8: 8, 9: 1, 10: 8, 11: 16, 12: 8, 15: 4, 16: 2,
          18: 2}  # fmt: skip
_CUSTOM = 32
_WORDS = re.compile(rb"[\x20-\x7e\n\t]{6,}")


def claims(part: Part) -> bool:
    """The mark of TensorFlow Lite behind the first offset."""
    return part.head(4, 4) == MARK


def read(reading: Reading, part: Part) -> bool:
    """Tables, operators and tensors; then the archive behind them."""
    pickles.read(reading, replace(part, raw=True), named=False)
    try:
        _model(reading, part)
    except (Malformed, struct.error) as error:
        reading.report(part, LAYOUT, str(error))
    reading.took(part, "tflite")
    _behind(reading, part)
    return True


def _behind(reading: Reading, part: Part) -> None:
    """The archive of labels and vocabularies that can follow the model."""
    record, found = zip_entries.find(part.data, part.start, part.end), zip_entries.Directory()
    if record is not None:
        with suppress(Malformed):  # the mark of a zip's end among the numbers
            found = zip_entries.directory(part.data, part.start, part.end, record)
    if not found.members and not found.hidden:
        return
    for problem in found.problems:
        reading.report(part, rules.MALFORMED, problem, record)
    for member in found.hidden:
        member.problems.append("is not listed in the directory")
    zips.members(reading, part, archives.listed(reading, part, found.members + found.hidden))


@dataclass
class Flat:
    """Tables of a flat buffer, found by offsets that are checked one by one.

    Attributes:
        left: tables and numbers that may still be read.
    """

    data: Buffer
    start: int
    end: int
    left: int = MOST

    def number(self, form: str, at: int) -> int:
        """A number at a place.

        Raises:
            Malformed: the place is outside.
        """
        if at < self.start or at + struct.calcsize(form) > self.end:
            raise Malformed(f"a place {at - self.start:,} of {self.end - self.start:,} bytes")
        return int(struct.unpack_from("<" + form, self.data, at)[0])

    def spend(self, count: int) -> None:
        """Count what is read."""
        self.left -= count
        if self.left < 0:
            raise Exhausted(f"a flat buffer of more than {MOST:,} tables and numbers")

    def root(self) -> int:
        """The first table."""
        return self.start + self.number("I", self.start)

    def field(self, table: int, index: int) -> int:
        """Where a field of a table lies, 0 where the table has none."""
        self.spend(1)
        rows = table - self.number("i", table)
        size = self.number("H", rows)
        if size < 4 or size % 2:
            raise Malformed("a table whose description is damaged")
        if 4 + 2 * index >= size:
            return 0
        offset = self.number("H", rows + 4 + 2 * index)
        return table + offset if offset else 0

    def value(self, table: int, index: int, form: str, default: int = 0) -> int:
        """A number of a table."""
        at = self.field(table, index)
        return self.number(form, at) if at else default

    def table(self, table: int, index: int) -> int:
        """A table within a table, 0 where there is none."""
        at = self.field(table, index)
        return at + self.number("I", at) if at else 0

    def vector(self, table: int, index: int, size: int) -> tuple[int, int]:
        """Where the items of a vector begin, and how many there are."""
        at = self.table(table, index)
        if not at:
            return 0, 0
        count = self.number("I", at)
        if at + 4 + count * size > self.end:
            raise Malformed(f"a vector of {count:,} items, for which the file is too short")
        return at + 4, count

    def tables(self, table: int, index: int) -> Iterator[int]:
        """Tables in a vector."""
        begin, count = self.vector(table, index, 4)
        self.spend(count)
        for at in range(begin, begin + 4 * count, 4):
            yield at + self.number("I", at)

    def numbers(self, table: int, index: int) -> tuple[int, ...]:
        """Numbers of four bytes in a vector."""
        begin, count = self.vector(table, index, 4)
        self.spend(count)
        return struct.unpack_from(f"<{count}i", self.data, begin) if count else ()

    def text(self, table: int, index: int) -> str:
        """A text; of a long one the beginning."""
        begin, count = self.vector(table, index, 1)
        return bytes(self.data[begin : begin + min(count, LONGEST)]).decode("utf-8", "replace")


def _model(reading: Reading, part: Part) -> None:
    flat = Flat(part.data, part.start, part.end)
    root = flat.root()
    codes = list(flat.tables(root, 1))
    for each in codes:
        _operator(reading, part, flat, each)
    buffers = [_buffer(reading, part, flat, each) for each in flat.tables(root, 4)]
    texts.review(reading, part, "savedmodel_scan", "description", flat.text(root, 3), root)
    for graph in flat.tables(root, 2):
        tensors = list(flat.tables(graph, 0))
        for each in tensors:
            _tensor(reading, part, flat, each, buffers)
        for index in (1, 2):
            _indices(flat, graph, index, len(tensors), "a tensor of the graph")
        for operator in flat.tables(graph, 3):
            if not flat.value(operator, 0, "I") < len(codes):
                raise Malformed("an operator that is not listed")
            for index in (1, 2):
                _indices(flat, operator, index, len(tensors), "a tensor of an operator")
            flat.vector(operator, 5, 1)
    for each in flat.tables(root, 6):
        place = flat.value(each, 1, "I")
        if place >= len(buffers):
            raise Malformed("metadata in a buffer that is not there")
        _metadata(reading, part, flat.text(each, 0), *buffers[place])


def _operator(reading: Reading, part: Part, flat: Flat, table: int) -> None:
    """A kind of operator: one of the library's, or another one by its name."""
    code = max(flat.value(table, 0, "b"), flat.value(table, 3, "i"))
    name = flat.text(table, 1)
    if code != _CUSTOM or name in _OWN:
        return
    standing = tf_names.standing(name.removeprefix("Flex")) if name.startswith("Flex") else "custom"
    if standing in ("python", "files", "network", "saver"):
        reading.report(part, FLEX, f"it reaches {standing}", table, show(name))
    elif standing != "known":
        reading.report(part, CUSTOM, "what it does is not in the file", table, show(name))


def _buffer(reading: Reading, part: Part, flat: Flat, table: int) -> tuple[int, int]:
    """Where a buffer begins and ends; in large files it lies behind the tables."""
    begin, size = flat.vector(table, 0, 1)
    offset, length = flat.value(table, 1, "Q"), flat.value(table, 2, "Q")
    if offset > 1:  # 1 is the mark of a buffer that is not yet placed
        begin, size = flat.start + offset, length
    if begin + size > flat.end:
        reading.report(part, LAYOUT, f"a buffer of {size:,} bytes lies outside", table)
        return 0, 0
    return begin, begin + size


def _tensor(
    reading: Reading, part: Part, flat: Flat, table: int, buffers: list[tuple[int, int]]
) -> None:
    """Shape and type of a tensor against its buffer; buffer 0 is the empty one."""
    shape, place = flat.numbers(table, 0), flat.value(table, 2, "I")
    if place >= len(buffers):
        raise Malformed("a tensor in a buffer that is not there")
    begin, end = buffers[place]
    size = _SIZES.get(flat.value(table, 1, "b"))
    sparse = flat.field(table, 6)
    if any(n < -1 for n in shape) or len(shape) > 64 or abs(prod(shape)) >= 2**48:
        reading.report(part, LAYOUT, "a tensor has a shape that none has", table)
    elif (
        end > begin and size and not sparse and -1 not in shape and prod(shape) * size > end - begin
    ):
        reason = f"a tensor of {prod(shape) * size:,} bytes in a buffer of {end - begin:,}"
        reading.report(part, LAYOUT, reason, table)


def _indices(flat: Flat, table: int, index: int, count: int, what: str) -> None:
    """Numbers of tensors; -1 stands for one that is left out."""
    if any(not -1 <= n < count for n in flat.numbers(table, index)):
        raise Malformed(f"{what} that is not there")


def _metadata(reading: Reading, part: Part, name: str, begin: int, end: int) -> None:
    """Words for people and programs, in a flat buffer of their own."""
    if end - begin > LONGEST:
        reason = f"{show(name)} has {end - begin:,} bytes, where {LONGEST:,} are searched"
        reading.report(part, rules.BUDGET, reason, begin)
    content = bytes(part.data[begin : min(end, begin + LONGEST)])
    words = "\n".join(match[0].decode("ascii") for match in _WORDS.finditer(content))
    texts.review(reading, part, "savedmodel_scan", name, words, begin)
