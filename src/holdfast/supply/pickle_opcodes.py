"""The opcodes of protocols 0 to 5 on the symbolic machine, and the loop that follows a stream."""

import codecs
import struct
import warnings
from collections.abc import Callable

from holdfast.supply.pickle_checks import array_bytes, is_wrapper
from holdfast.supply.pickle_machine import LONG, Stream
from holdfast.supply.pickle_values import (
    Exhausted,
    Listed,
    Made,
    Malformed,
    Mapped,
    Name,
    Opaque,
    Symbol,
    show,
)

Step = Callable[[Stream], object]
STEPS: list[Step | None] = [None] * 256


def run(stream: Stream) -> Stream:
    """Follow the stream to STOP, to its end, or to what no loader survives."""
    data, room = stream.data, stream.allowance.opcodes
    try:
        while not stream.done:
            stream.at = stream.pos
            if stream.pos >= stream.end:
                raise Malformed("the stream ends without STOP")
            step = STEPS[data[stream.pos]]
            if step is None:
                raise Malformed(f"0x{data[stream.pos]:02x} is no opcode")
            stream.pos += 1
            stream.steps += 1
            if stream.steps > room:
                raise Exhausted("there are more opcodes than are followed")
            step(stream)
    except Malformed as error:
        stream.note("malformed", "", str(error))
    except Exhausted as error:
        stream.note("budget", "", str(error))
    stream.allowance.opcodes = max(0, stream.allowance.opcodes - stream.steps)
    stream.stack, stream.below, stream.memo = [], [], {}
    return stream


def _opcode(*codes: str | int) -> Callable[[Step], Step]:
    def add(step: Step) -> Step:
        for code in codes:
            STEPS[code if isinstance(code, int) else ord(code)] = step
        return step

    return add


# constants


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


_opcode("N")(_constant(None))
_opcode(")")(_constant(()))
_opcode(0x88)(_constant(True))
_opcode(0x89)(_constant(False))
_opcode("J")(_number(4, "<i"))
_opcode("K")(_number(1, "<B"))
_opcode("M")(_number(2, "<H"))
_opcode("G")(_number(8, ">d"))
_opcode("X")(_text(4))
_opcode(0x8C)(_text(1))
_opcode(0x8D)(_text(8))
_opcode("U")(_text(1, "latin-1"))
_opcode("B")(_bytes(4))
_opcode("C")(_bytes(1))
_opcode(0x8E)(_bytes(8))
_opcode(0x96)(_bytes(8))


@_opcode("T")
def _binstring(m: Stream) -> None:
    start = m.take(4)
    m.text(struct.unpack("<i", m.data[start : start + 4])[0], "latin-1")


@_opcode("I", "L")
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


@_opcode("F")
def _float(m: Stream) -> None:
    m.line()
    m.push(0.0)


@_opcode(0x8A, 0x8B)
def _long(m: Stream) -> None:
    wide = m.data[m.at] == 0x8B
    count = m.unsigned(4 if wide else 1)
    if wide and count >= 2**31:
        raise Malformed("a number of negative length")
    start = m.take(count)
    short = count <= LONG
    number = int.from_bytes(m.data[start : start + count], "little", signed=True) if short else 0
    m.push(number if short else Opaque("a huge number"))


@_opcode("S")
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


@_opcode("V")
def _unicode(m: Stream) -> None:
    try:
        m.push(str(m.line(), "raw-unicode-escape"))
    except UnicodeDecodeError:
        m.note("malformed", "", "a string that cannot be read")
        m.push(Opaque("a string"))


@_opcode(0x97)
def _next_buffer(m: Stream) -> None:
    m.note("loader", "a buffer", "is passed beside the file, which the loader may do")
    m.push(Opaque("a buffer"))


_opcode(0x98)(lambda m: m.top())

# containers

_opcode("]", 0x8F)(lambda m: m.push(Listed([])))
_opcode("}")(lambda m: m.push(Mapped()))
_opcode("a")(lambda m: _extend(m, [m.pop()], "APPEND"))
_opcode("e", 0x90)(lambda m: _extend(m, m.pop_mark(), "APPENDS"))
_opcode("u")(lambda m: _put(m, m.pop_mark(), "SETITEMS"))


@_opcode(0x85, 0x86, 0x87)
def _tuple_of(m: Stream) -> None:
    count = m.data[m.at] - 0x84
    items = tuple([m.pop() for _ in range(count)][::-1])
    m.hold(items)
    m.push(items)


@_opcode("l", 0x91)
def _list(m: Stream) -> None:
    items = m.pop_mark()
    m.hold(items)
    m.push(Listed(items))


@_opcode("t")
def _tuple(m: Stream) -> None:
    items = tuple(m.pop_mark())
    m.hold(items)
    m.push(items)


def _extend(m: Stream, items: list[Symbol], opcode: str) -> None:
    thing = m.top()
    if isinstance(thing, Listed):
        m.hold(items)
        thing.items.extend(items)
    else:
        m.grow(thing, items, opcode)


@_opcode("d")
def _dict(m: Stream) -> None:
    items = m.pop_mark()
    m.push(Mapped())
    _put(m, items, "DICT")


@_opcode("s")
def _setitem(m: Stream) -> None:
    value, key = m.pop(), m.pop()
    _put(m, [key, value], "SETITEM")


def _put(m: Stream, items: list[Symbol], opcode: str) -> None:
    thing = m.top()
    if len(items) % 2:
        raise Malformed("a key without a value")
    if not isinstance(thing, Mapped):
        m.grow(thing, items, opcode)
        return
    m.hold(items)
    for key, value in zip(items[::2], items[1::2], strict=True):
        thing.put(key, value)


# stack and memo


@_opcode("(")
def _mark(m: Stream) -> None:
    m.below.append(m.stack)
    m.stack = []


@_opcode("0")
def _pop(m: Stream) -> None:
    if m.stack:
        m.stack.pop()
    else:
        m.pop_mark()


@_opcode(0x94)
def _memoize(m: Stream) -> None:
    m.memo[len(m.memo)] = m.top()


@_opcode("p", "g")
def _put_or_get(m: Stream) -> None:
    try:
        key = int(m.line())
    except ValueError as error:
        raise Malformed("a memo key that is no number") from error
    if m.data[m.at] == ord("p"):
        m.remember(key)
    else:
        m.recall(key)


_opcode("1")(lambda m: m.pop_mark())
_opcode("2")(lambda m: m.push(m.top()))
_opcode("q")(lambda m: m.remember(m.unsigned(1)))
_opcode("r")(lambda m: m.remember(m.unsigned(4)))
_opcode("h")(lambda m: m.recall(m.unsigned(1)))
_opcode("j")(lambda m: m.recall(m.unsigned(4)))

# frames


@_opcode(0x80)
def _proto(m: Stream) -> None:
    m.proto = m.unsigned(1)
    if m.proto > 5:
        m.note("malformed", "", f"protocol {m.proto} does not exist")


@_opcode(0x95)
def _frame(m: Stream) -> None:
    size = m.unsigned(8)
    if m.at < m.frame_end:
        m.note("malformed", "", "a frame that begins within another")
    if size > m.end - m.pos:
        m.note("malformed", "", "a frame that is longer than the file")
    m.frame_end = m.pos + size


@_opcode(".")
def _stop(m: Stream) -> None:
    m.value = m.pop()
    m.done = True
    if m.pos < m.frame_end:
        m.note("malformed", "", "STOP before the end of its frame")


# imports and calls

_opcode("c")(lambda m: m.push(m.name(*_names(m))))
_opcode("P")(lambda m: m.push(m.persistent(show(str(m.line(), "latin-1")))))
_opcode("Q")(lambda m: m.push(m.persistent(m.pop())))


def _names(m: Stream) -> tuple[Symbol, Symbol]:
    try:
        return str(m.line(), "utf-8"), str(m.line(), "utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("a name that is not UTF-8") from error


@_opcode(0x93)
def _stack_global(m: Stream) -> None:
    name, module = m.pop(), m.pop()
    m.push(m.name(module, name))


@_opcode(0x82, 0x83, 0x84)
def _ext(m: Stream) -> None:
    code = m.unsigned({0x82: 1, 0x83: 2, 0x84: 4}[m.data[m.at]])
    m.note("unknown", f"extension {code}", "is looked up in copyreg's registry at load time")
    m.push(Opaque(f"extension {code}"))


@_opcode("i")
def _inst(m: Stream) -> None:
    function, args = m.name(*_names(m)), m.pop_mark()
    m.hold(args)
    m.push(m.call(function, tuple(args), "INST"))


@_opcode("o")
def _obj(m: Stream) -> None:
    items = m.pop_mark()
    if not items:
        raise Malformed("OBJ without a class")
    m.hold(items[1:])
    m.push(m.call(items[0], tuple(items[1:]), "OBJ"))


@_opcode("R")
def _reduce(m: Stream) -> None:
    args, function = m.pop(), m.pop()
    m.push(m.call(function, args, "REDUCE"))


@_opcode(0x81)
def _newobj(m: Stream) -> None:
    args, cls = m.pop(), m.pop()
    m.push(m.call(cls, args, "NEWOBJ"))


@_opcode(0x92)
def _newobj_ex(m: Stream) -> None:
    kwargs, args, cls = m.pop(), m.pop(), m.pop()
    m.hold([kwargs])
    m.push(m.call(cls, args, "NEWOBJ_EX"))


@_opcode("b")
def _build(m: Stream) -> None:
    state, thing = m.pop(), m.top()
    if isinstance(thing, Name):
        m.note("misuse", str(thing), "BUILD writes attributes of an imported object")
    elif not isinstance(thing, Made):
        m.note("misuse", show(thing), "BUILD on what has no state")
    else:
        m.attributes(thing, state)
        if is_wrapper(thing):
            m.wrappers += 1
            if m.joblib:
                _inline(m, thing)


def _inline(m: Stream, wrapper: Made) -> None:
    """Pass over the array that joblib wrote behind its header: raw bytes, or a pickle of objects."""
    size = array_bytes(wrapper)
    m.stack[-1] = Made(None, ())
    if size is not None:
        if wrapper.state.get("numpy_array_alignment_bytes") is not None:
            m.take(m.unsigned(1))
        m.take(size)
        return
    if m.allowance.depth <= 0:
        raise Exhausted("pickles lie within pickles, too deep to follow")
    m.allowance.depth -= 1
    m.allowance.opcodes -= m.steps
    inner = run(Stream(m.data, m.pos, m.end, m.allowance, joblib=False, notes=m.notes))
    m.allowance.opcodes += m.steps
    m.allowance.depth += 1
    m.nested += inner.nested
    m.pos = inner.pos
    if not inner.done:
        raise Malformed("an array of objects that does not end")
