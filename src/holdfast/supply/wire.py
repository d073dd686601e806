"""Protocol buffers on the wire: fields one after the other, within bounds, nothing decoded ahead.

A message is a run of fields; each has a number and one of four encodings. A reader of a format
walks the fields of a message, and walks those of the messages in it by calling `fields` again with
their span, to a depth that it chooses.
"""

from collections.abc import Iterator
from typing import NamedTuple

from holdfast.supply.pickle_values import Buffer, Exhausted, Malformed

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Encodings: a number of one to ten bytes, eight bytes, a run of bytes (text, a message, packed
numbers), four bytes."""
MOST = 1_000_000
"""Fields of one message that are read: more than the nodes of any graph, in less than a second."""
_FIXED = {FIXED64: 8, FIXED32: 4}


class Field(NamedTuple):
    """One field: (number, encoding, value); the value of `BYTES` is the place (start, end)."""

    number: int
    kind: int
    value: int | tuple[int, int]

    @property
    def span(self) -> tuple[int, int]:
        """Where the bytes lie.

        Raises:
            Malformed: it is a number, where the format has bytes.
        """
        if isinstance(self.value, tuple):
            return self.value
        raise Malformed(f"field {self.number} of a message is a number, not bytes")

    @property
    def amount(self) -> int:
        """The number, unsigned.

        Raises:
            Malformed: it is bytes, where the format has a number.
        """
        if isinstance(self.value, int):
            return self.value
        raise Malformed(f"field {self.number} of a message is bytes, not a number")


def fields(data: Buffer, start: int, end: int, most: int = MOST) -> Iterator[Field]:
    """Fields of the message that lies in `data` from `start` to `end`, in their order.

    Raises:
        Malformed: a field does not end, is longer than the message, or of an unknown encoding.
        Exhausted: there are more than `most`.
    """
    pos = start
    for _ in range(most):
        if pos >= end:
            return
        key, pos = (data[pos], pos + 1) if data[pos] < 0x80 else varint(data, pos, end)
        number, kind = key >> 3, key & 7
        if not 0 < number < 2**29:
            raise Malformed(f"field number {number} in a message")
        if kind == BYTES:
            size, pos = varint(data, pos, end)
            if size > end - pos:
                raise Malformed(f"field {number} of a message is longer than the message")
            yield Field(number, kind, (pos, pos + size))
            pos += size
        elif kind == VARINT:
            value, pos = varint(data, pos, end)
            yield Field(number, kind, value)
        elif kind in _FIXED:
            begin, pos = pos, pos + _FIXED[kind]
            if pos > end:
                raise Malformed(f"field {number} of a message is longer than the message")
            yield Field(number, kind, int.from_bytes(data[begin:pos], "little"))
        else:  # groups, which no format of models has
            raise Malformed(f"field {number} of a message has the unknown encoding {kind}")
    if pos < end:
        raise Exhausted("a message with more fields than are read")


def varint(data: Buffer, pos: int, end: int) -> tuple[int, int]:
    """A number of up to 64 bits, and the place behind it.

    Raises:
        Malformed: it does not end.
    """
    if pos < end and data[pos] < 0x80:  # almost always
        return data[pos], pos + 1
    value = shift = 0
    while pos < end and shift < 70:
        byte = data[pos]
        value |= (byte & 0x7F) << shift
        pos, shift = pos + 1, shift + 7
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, pos
    raise Malformed("a number in a message that does not end")


def signed(value: int) -> int:
    """An int32 or int64, which are written as 64-bit two's complement."""
    return value - 2**64 if value >= 2**63 else value


def numbers(data: Buffer, field: Field, most: int = MOST) -> Iterator[int]:
    """Values of a repeated number, which may be packed into one field or stand by itself.

    Raises:
        Malformed: one does not end.
        Exhausted: there are more than `most`.
    """
    if isinstance(field.value, int):
        yield field.value
        return
    pos, end = field.value
    while pos < end:
        if most <= 0:
            raise Exhausted("more numbers in a field than are read")
        most -= 1
        value, pos = varint(data, pos, end)
        yield value


def text(data: Buffer, span: tuple[int, int], most: int = 65_536) -> str:
    """The text at a place; bytes that are no UTF-8 are marked, as loaders differ about them.

    Raises:
        Exhausted: it is longer than `most` bytes.
    """
    start, end = span
    if end - start > most:
        raise Exhausted(f"a text of {end - start:,} bytes, where at most {most:,} are read")
    return bytes(data[start:end]).decode("utf-8", "replace")
