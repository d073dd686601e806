"""Opcodes that push a constant, and the table of all opcodes."""

import codecs
import struct
import warnings
from collections.abc import Callable

from holdfast.supply.pickle_machine import LONG, Stream
from holdfast.supply.pickle_values import Malformed, Opaque, Symbol

Step = Callable[[Stream], object]
STEPS: list[Step | None] = [None] * 256
_WIDE = 2**16
"""Bytes of a number from which on it is there to take time: nothing that is written is so large."""


def opcode(*codes: str | int) -> Callable[[Step], Step]:
    """Put what a function does into the table, under these bytes."""

    def add(step: Step) -> Step:
        for code in codes:
            STEPS[code if isinstance(code, int) else ord(code)] = step
        return step

    return add


def _constant(value: Symbol) -> Step:
    return lambda m: m.push(value)


def _number(width: int, form: str) -> Step:
    def step(m: Stream) -> None:
        start = m.take(width)
        m.push(struct.unpack(form, m.data[start : start + width])[0])

    return step


def _text(width: int, encoding: str = "utf-8") -> Step:
    return lambda m: m.text(m.unsigned(width), encoding)


def _bytes(width: int) -> Step:
    return lambda m: m.blob(m.unsigned(width))


opcode("N")(_constant(None))
opcode(")")(_constant(()))
opcode(0x88)(_constant(True))
opcode(0x89)(_constant(False))
opcode("J")(_number(4, "<i"))
opcode("K")(_number(1, "<B"))
opcode("M")(_number(2, "<H"))
opcode("G")(_number(8, ">d"))
opcode("X")(_text(4))
opcode(0x8C)(_text(1))
opcode(0x8D)(_text(8))
opcode("U")(_text(1, "latin-1"))
opcode("B")(_bytes(4))
opcode("C")(_bytes(1))
opcode(0x8E)(_bytes(8))
opcode(0x96)(_bytes(8))


@opcode("T")
def _binstring(m: Stream) -> None:
    start = m.take(4)
    m.text(struct.unpack("<i", m.data[start : start + 4])[0], "latin-1")


@opcode("I", "L")
def _integer(m: Stream) -> None:
    line = m.line().strip()
    if line in (b"00", b"01"):
        m.push(line == b"01")
        return
    try:
        m.push(int(line.removesuffix(b"L"), 0))
    except ValueError:
        m.note("malformed", "", "a number that cannot be read")
        m.push(Opaque("a number"))


@opcode("F")
def _float(m: Stream) -> None:
    try:
        m.push(float(m.line()))
    except ValueError:
        m.note("malformed", "", "a number that cannot be read")
        m.push(Opaque("a number"))


@opcode(0x8A, 0x8B)
def _long(m: Stream) -> None:
    wide = m.data[m.at] == 0x8B
    count = m.unsigned(4 if wide else 1)
    if wide and count >= 2**31:
        raise Malformed("a number of negative length")
    start = m.take(count)
    short = count <= LONG
    if count > _WIDE:
        m.note("expands", "", f"a number of {count:,} bytes")
    number = int.from_bytes(m.data[start : start + count], "little", signed=True) if short else 0
    m.push(number if short else Opaque("a huge number"))


@opcode("S")
def _string(m: Stream) -> None:
    line = m.line()
    if len(line) < 2 or line[0] != line[-1] or line[0] not in b"\"'":
        raise Malformed("a string without quotes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that Python does not know
            m.push(str(codecs.escape_decode(line[1:-1])[0], "latin-1"))
    except ValueError:
        m.note("malformed", "", "a string that cannot be read")
        m.push(Opaque("a string"))


@opcode("V")
def _unicode(m: Stream) -> None:
    try:
        m.push(str(m.line(), "raw-unicode-escape"))
    except UnicodeDecodeError:
        m.note("malformed", "", "a string that cannot be read")
        m.push(Opaque("a string"))


@opcode(0x97)
def _next_buffer(m: Stream) -> None:
    m.note("loader", "a buffer", "is passed beside the file, which the loader may do")
    m.push(Opaque("a buffer"))


opcode(0x98)(lambda m: m.top())
