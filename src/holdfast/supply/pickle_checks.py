"""Arguments of callables that are allowed only for some uses, and the size of joblib's arrays."""

import re
from typing import TypeGuard

from holdfast.supply.pickle_names import ALLOWED, CALLABLE
from holdfast.supply.pickle_values import (
    Listed,
    Made,
    Malformed,
    Mapped,
    Name,
    Opaque,
    Symbol,
    show,
)

_ARRAYS = ("ndarray", "matrix", "recarray", "MaskedArray")
_BASES = ("object", "dict", "list", "tuple", "set", "frozenset", "int", "float", "complex", "str")
_STATES = ("SeedSequence", "__pyx_unpickle_SeedSequence")
_CODECS = ("latin1", "latin-1", "utf-8", "utf8", "ascii")
_SPEC = re.compile(r"([biufcmMSUVO])(\d{1,9})")
_WRAPPER = {"subclass", "shape", "order", "dtype", "allow_mmap", "numpy_array_alignment_bytes"}
_LOOKED_UP = ("append", "extend", "add")
"""Methods that opcodes call by name, so that an attribute of the same name would be called."""
_MANY = 10_000


def check(function: Name, args: tuple[Symbol, ...] | None) -> str | None:
    """Why this call is refused, or None; `args` is None where they cannot be read."""
    if function.role == "class":
        return None
    if function.role == "call":
        return "calls it with arguments that cannot be read" if args is None else _plain(args)
    if function.role == "value":
        return "calls what may be held but not called"
    if not args:
        return "calls it with arguments that cannot be read"
    return _CHECKS[function.role or ""](args)


def reserved(key: str) -> bool:
    """Whether an attribute of this name changes what an object is, or what opcodes do to it."""
    return key in _LOOKED_UP or (key[:2] == "__" and key[-2:] == "__")


def written(state: Symbol) -> str | None:
    """Why this is refused as the state of an object, which names the attributes to write, or None.

    Of what a call gave only a random seed is let through: another thing can be a dictionary
    whose keys nobody has read.
    """
    parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
    for part in parts:
        if isinstance(part, Mapped):
            for key in filter(reserved, part.items):
                return f"writes the attribute {show(key)}"
            if part.odd:
                return "writes attributes whose names are made at load time"
        elif isinstance(part, Made) and (part.of is None or part.of.name not in _STATES):
            return "writes attributes that are made at load time"
        elif isinstance(part, Opaque):
            return "writes attributes that cannot be read"
    return None


def _plain(args: tuple[Symbol, ...]) -> str | None:
    """Why these arguments are refused for a call that writes attributes from some of them."""
    left, seen = list[Symbol](args), 0
    while left:
        thing, seen = left.pop(), seen + 1
        if seen > _MANY:
            return "calls it with more arguments than are read"
        if isinstance(thing, Mapped) and any(map(reserved, thing.items)):
            return "passes a special attribute"
        if isinstance(thing, tuple | Listed):
            left += thing if isinstance(thing, tuple) else thing.items
        elif isinstance(thing, Mapped):
            left += thing.items.values()
    return None


def _array(thing: Symbol) -> bool:
    return isinstance(thing, Name) and thing.role == "class" and thing.name in _ARRAYS


def _class(thing: Symbol) -> bool:
    return isinstance(thing, Name) and thing.role == "class"


def _reconstruct(args: tuple[Symbol, ...]) -> str | None:
    return None if _array(args[0]) else "makes something else than an array"


def _subtypes(args: tuple[Symbol, ...]) -> str | None:
    return None if all(map(_array, args[:2])) else "makes something else than an array"


def _dtype(args: tuple[Symbol, ...]) -> str | None:
    """A copy by name, as NumPy writes it: a dtype that is given back as it is would have two names."""
    fine = len(args) == 3 and args[1:] == (0, 1) and _spec(args[0]) is not None
    return None if fine else "makes a type in a way that NumPy does not write"


def _lists(args: tuple[Symbol, ...]) -> str | None:
    """TorchScript's helpers give back their argument: anything else would have two names."""
    fine = isinstance(args[0], Listed | Mapped)
    return None if fine else "is given something else than a list"


def _scalar(args: tuple[Symbol, ...]) -> str | None:
    spec = _spec(args[0].args[0]) if is_dtype(args[0]) and args[0].args else None
    fine = spec is not None and spec[0] != "O"  # of objects it gives back its argument
    return None if fine else "makes a scalar of something else than a dtype"


def _reconstructor(args: tuple[Symbol, ...]) -> str | None:
    base = args[1] if len(args) == 3 else None
    fine = isinstance(base, Name) and base.module == "builtins" and base.name in _BASES
    return None if fine and _class(args[0]) else "builds something else than an allowed class"


def _newobj(args: tuple[Symbol, ...]) -> str | None:
    return None if _class(args[0]) else "builds something else than an allowed class"


def _encode(args: tuple[Symbol, ...]) -> str | None:
    fine = len(args) == 2 and isinstance(args[1], str) and args[1] in _CODECS
    return None if fine else "uses a codec other than Latin-1, UTF-8 or ASCII"


def _ufunc(args: tuple[Symbol, ...]) -> str | None:
    module, name = args if len(args) == 2 else (None, None)
    fine = isinstance(module, str) and isinstance(name, str)
    fine = fine and ALLOWED.get((str(module), str(name))) == "value"
    return None if fine else "looks up something else than a NumPy function"


def _generator(args: tuple[Symbol, ...]) -> str | None:
    maker = args[1] if len(args) > 1 else None
    fine = maker is None or (isinstance(maker, Name) and maker.name == "__bit_generator_ctor")
    return None if fine else "is told to call something else"


def _storage(args: tuple[Symbol, ...]) -> str | None:
    return None if len(args) == 1 else "has other arguments than one run of bytes"


def _rebuild(args: tuple[Symbol, ...]) -> str | None:
    maker, kind = args[0], args[1] if len(args) == 4 else None
    fine = isinstance(maker, Name) and maker.module == "torch._utils" and maker.role in CALLABLE
    fine = fine and isinstance(kind, Name) and _class(kind) and kind.module.startswith("torch")
    return (_plain(args) or written(args[3])) if fine else "rebuilds something else than a tensor"


_CHECKS = {
    "dtype": _dtype,
    "reconstruct": _reconstruct,
    "subtypes": _subtypes,
    "lists": _lists,
    "scalar": _scalar,
    "reconstructor": _reconstructor,
    "newobj": _newobj,
    "encode": _encode,
    "ufunc": _ufunc,
    "generator": _generator,
    "storage": _storage,
    "rebuild": _rebuild,
}


def _spec(thing: Symbol) -> tuple[str, int] | None:
    """Kind and bytes of one item from a dtype's name, None where it has another one."""
    if isinstance(thing, Name):  # a row of a record array; its state tells how many bytes
        return ("V", 0) if thing.name == "record" and _class(thing) else None
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
    spec = None if _dtype(kind.args) else _spec(kind.args[0])
    if spec is None:
        raise Malformed("an array type that cannot be read")
    letter, size = spec
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
