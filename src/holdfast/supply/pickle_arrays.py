"""Types of NumPy arrays as pickles write them, and the size of joblib's arrays."""

import re
from typing import TypeGuard

from holdfast.supply.pickle_values import Made, Malformed, Mapped, Name, Symbol

_SPEC = re.compile(r"([biufcmMSUVO])(\d{1,9})")
_WRAPPER = {"subclass", "shape", "order", "dtype", "allow_mmap", "numpy_array_alignment_bytes"}


def dtype(args: tuple[Symbol, ...]) -> str | None:
    """A copy by name, as NumPy writes it: a dtype that is given back as it is would have two names."""
    fine = len(args) == 3 and args[1:] == (0, 1) and spec(args[0]) is not None
    return None if fine else "makes a type in a way that NumPy does not write"


def spec(thing: Symbol) -> tuple[str, int] | None:
    """Kind and bytes of one item from a dtype's name, None where it has another one."""
    if isinstance(thing, Name):  # a row of a record array; its state tells how many bytes
        return ("V", 0) if (thing.name, thing.role) == ("record", "class") else None
    match = _SPEC.fullmatch(thing) if isinstance(thing, str) else None
    return (match[1], int(match[2]) * (4 if match[1] == "U" else 1)) if match else None


def is_dtype(thing: Symbol) -> TypeGuard[Made]:
    """Whether this is a `numpy.dtype` object."""
    return isinstance(thing, Made) and thing.of is not None and str(thing.of) == "numpy.dtype"


def is_wrapper(thing: Symbol) -> bool:
    """Whether this is the header that joblib puts before an array's bytes."""
    header = "joblib.numpy_pickle.NumpyArrayWrapper"
    return isinstance(thing, Made) and thing.of is not None and str(thing.of) == header


def array_bytes(wrapper: Made) -> int | None:
    """How many bytes joblib reads for this header, None when a pickle of objects follows.

    Raises:
        Malformed: the header is not one that joblib writes, so that a loader may read another
            number of bytes than we would.
    """
    shape, kind = wrapper.state.get("shape"), wrapper.state.get("dtype")
    padded = wrapper.state.get("numpy_array_alignment_bytes")
    strange = wrapper.odd or wrapper.args or not wrapper.state.keys() <= _WRAPPER
    if strange or not (padded is None or type(padded) is int):
        raise Malformed("an array header that joblib does not write")
    if not isinstance(shape, tuple) or not isinstance(kind, Made):
        raise Malformed("an array header without shape or type")
    count = 1
    for length in shape:
        if type(length) is not int or length < 0:
            raise Malformed("an array whose shape is not whole numbers")
        count *= length
    size, objects = item(kind)
    return None if objects else count * size


def item(kind: Symbol, depth: int = 8) -> tuple[int, bool]:
    """Bytes of one item of a dtype, and whether it holds objects; exact or an error.

    Flags and sizes in a dtype's state override its name, so a state that contradicts the name
    would make a loader read on from another byte than we do.
    """
    if depth == 0 or not is_dtype(kind) or kind.odd or kind.state or not kind.args:
        raise Malformed("an array type that cannot be read")
    found = None if dtype(kind.args) else spec(kind.args[0])
    if found is None:
        raise Malformed("an array type that cannot be read")
    letter, size = found
    if kind.rest is None:
        return size, letter == "O"
    state = kind.rest
    if not isinstance(state, tuple) or len(state) not in (8, 9) or type(state[7]) is not int:
        raise Malformed("an array type whose state cannot be read")
    _, _, sub, _, fields, width, _, flags = state[:8]
    if type(width) is not int or (width not in (-1, size) and letter not in "SUV"):
        raise Malformed("an array type whose size contradicts its name")
    objects = letter == "O" or (letter == "V" and _has_objects(sub, fields, depth))
    if bool(flags & 1) != objects:
        raise Malformed("an array type whose flags contradict its name")
    return (width if letter in "SUV" and width >= 0 else size), objects


def _has_objects(sub: Symbol, fields: Symbol, depth: int) -> bool:
    """Whether any field of a structured type holds objects."""
    inner = [sub[0]] if isinstance(sub, tuple) and sub else []
    if isinstance(fields, Mapped) and not fields.odd:
        for entry in fields.items.values():
            if not isinstance(entry, tuple) or not entry:
                raise Malformed("an array type whose fields cannot be read")
            inner.append(entry[0])
    elif fields is not None or (sub is not None and not inner):
        raise Malformed("an array type whose fields cannot be read")
    found = [item(each, depth - 1)[1] for each in inner]  # all of them, so that each is checked
    return any(found)
