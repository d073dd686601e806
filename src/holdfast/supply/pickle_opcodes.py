"""The opcodes of protocols 0 to 5 on the symbolic machine, and the loop that follows a stream."""

from holdfast.supply.pickle_arrays import array_bytes, is_wrapper
from holdfast.supply.pickle_constants import STEPS, opcode
from holdfast.supply.pickle_expansion import expansion
from holdfast.supply.pickle_machine import Stream
from holdfast.supply.pickle_values import (
    Exhausted,
    Listed,
    Made,
    Malformed,
    Mapped,
    Name,
    Symbol,
    show,
)


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


# containers

opcode("]", 0x8F)(lambda m: m.push(Listed([])))
opcode("}")(lambda m: m.push(Mapped()))
opcode("a")(lambda m: _extend(m, [m.pop()], "APPEND"))
opcode("e")(lambda m: _extend(m, m.pop_mark(), "APPENDS"))
opcode("u")(lambda m: _put(m, m.pop_mark(), "SETITEMS"))


@opcode(0x85, 0x86, 0x87)
def _tuple_of(m: Stream) -> None:
    count = m.data[m.at] - 0x84
    m.push(m.bundle([m.pop() for _ in range(count)][::-1]))


@opcode("l", 0x91)
def _list(m: Stream) -> None:
    items = m.pop_mark()
    m.hold(items)
    if m.data[m.at] == 0x91:
        _keys(m, items)
    m.push(Listed(items))


@opcode(0x90)
def _additems(m: Stream) -> None:
    items = m.pop_mark()
    _keys(m, items)
    _extend(m, items, "ADDITEMS")


def _keys(m: Stream, items: list[Symbol]) -> None:
    for item in items:
        if type(item) is tuple:
            m.key(item)


@opcode("t")
def _tuple(m: Stream) -> None:
    m.push(m.bundle(m.pop_mark()))


def _extend(m: Stream, items: list[Symbol], opcode: str) -> None:
    thing = m.top()
    if isinstance(thing, Listed):
        m.hold(items)
        thing.items.extend(items)
    else:
        m.grow(thing, items, opcode)


@opcode("d")
def _dict(m: Stream) -> None:
    items = m.pop_mark()
    m.push(Mapped())
    _put(m, items, "DICT")


@opcode("s")
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
        if type(key) is tuple:
            m.key(key)
        thing.put(key, value)


# stack and memo


@opcode("(")
def _mark(m: Stream) -> None:
    m.below.append(m.stack)
    m.stack = []


@opcode("0")
def _pop(m: Stream) -> None:
    if m.stack:
        m.stack.pop()
    else:
        m.pop_mark()


@opcode(0x94)
def _memoize(m: Stream) -> None:
    m.memo[len(m.memo)] = m.top()


@opcode("p", "g")
def _put_or_get(m: Stream) -> None:
    try:
        key = int(m.line())
    except ValueError as error:
        raise Malformed("a memo key that is no number") from error
    if m.data[m.at] == ord("p"):
        m.remember(key)
    else:
        m.recall(key)


opcode("1")(lambda m: m.pop_mark())
opcode("2")(lambda m: m.push(m.top()))
opcode("q")(lambda m: m.remember(m.unsigned(1)))
opcode("r")(lambda m: m.remember(m.unsigned(4)))
opcode("h")(lambda m: m.recall(m.unsigned(1)))
opcode("j")(lambda m: m.recall(m.unsigned(4)))

# frames


@opcode(0x80)
def _proto(m: Stream) -> None:
    m.proto = m.unsigned(1)
    if m.proto > 5:
        m.note("malformed", "", f"protocol {m.proto} does not exist")


@opcode(0x95)
def _frame(m: Stream) -> None:
    size = m.unsigned(8)
    if m.at < m.frame_end:
        m.note("malformed", "", "a frame that begins within another")
    if size > m.end - m.pos:
        m.note("malformed", "", "a frame that is longer than the file")
    m.frame_end = m.pos + size


@opcode(".")
def _stop(m: Stream) -> None:
    m.value = m.pop()
    m.done = True
    if wrong := expansion(m.value):
        m.note("expands", "", wrong)
    if m.pos < m.frame_end:
        m.note("malformed", "", "STOP before the end of its frame")


# imports and calls

opcode("c")(lambda m: m.push(m.name(*_names(m))))
opcode("P")(lambda m: m.push(m.persistent(show(str(m.line(), "latin-1")))))
opcode("Q")(lambda m: m.push(m.persistent(m.pop())))


def _names(m: Stream) -> tuple[Symbol, Symbol]:
    try:
        return str(m.line(), "utf-8"), str(m.line(), "utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("a name that is not UTF-8") from error


@opcode(0x93)
def _stack_global(m: Stream) -> None:
    name, module = m.pop(), m.pop()
    m.push(m.name(module, name))


@opcode(0x82, 0x83, 0x84)
def _ext(m: Stream) -> None:
    m.push(m.extension(m.unsigned({0x82: 1, 0x83: 2, 0x84: 4}[m.data[m.at]])))


@opcode("i")
def _inst(m: Stream) -> None:
    function, args = m.name(*_names(m)), m.pop_mark()
    m.hold(args)
    m.push(m.call(function, tuple(args), "INST"))


@opcode("o")
def _obj(m: Stream) -> None:
    items = m.pop_mark()
    if not items:
        raise Malformed("OBJ without a class")
    m.hold(items[1:])
    m.push(m.call(items[0], tuple(items[1:]), "OBJ"))


@opcode("R")
def _reduce(m: Stream) -> None:
    args, function = m.pop(), m.pop()
    m.push(m.call(function, args, "REDUCE"))


@opcode(0x81)
def _newobj(m: Stream) -> None:
    args, cls = m.pop(), m.pop()
    m.push(m.call(cls, args, "NEWOBJ"))


@opcode(0x92)
def _newobj_ex(m: Stream) -> None:
    kwargs, args, cls = m.pop(), m.pop(), m.pop()
    m.hold([kwargs])
    plain = isinstance(cls, Name) and cls.role == "class"
    bare = isinstance(kwargs, Mapped) and not kwargs.items and not kwargs.odd
    m.push(m.call(cls, args if plain or bare else None, "NEWOBJ_EX"))


@opcode("b")
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
