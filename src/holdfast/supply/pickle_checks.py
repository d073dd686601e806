"""Arguments of callables that are allowed only for some uses."""

import re

from holdfast.supply.pickle_arrays import dtype, is_dtype, spec
from holdfast.supply.pickle_libraries import BACKED, INDEXES
from holdfast.supply.pickle_names import ALLOWED, CALLABLE, CLASSES
from holdfast.supply.pickle_values import (
    Blob,
    Buffer,
    Listed,
    Made,
    Mapped,
    Name,
    Opaque,
    Symbol,
    show,
)

_ARRAYS = ("ndarray", "matrix", "recarray", "MaskedArray")
_BASES = ("object", "dict", "list", "tuple", "set", "frozenset", "int", "float", "complex", "str")
_STATES = ("SeedSequence", "__pyx_unpickle_SeedSequence", "_reconstruct", "_frombuffer")
"""What gives a seed or an array: neither is a dictionary, so as a state it names no attributes."""
_CODECS = ("latin1", "latin-1", "utf-8", "utf8", "ascii")
_LOOKED_UP = ("append", "extend", "add")
"""Methods that opcodes call by name, so that an attribute of the same name would be called."""
_TEXTS = ("__doc__", "__name__")
"""Attributes that some classes write for themselves: as texts, they are read by nobody but people."""
_MANY = 10_000
_HUGE = 2**24
"""Bytes of zeros or digits that a pickle may ask for by their number alone."""
_FRACTION = re.compile(r"-?\d{1,4000}(/\d{1,4000})?")
_ZONE = re.compile(r"[A-Za-z0-9_+\-]+(/[A-Za-z0-9_+\-]+){0,3}")
_SHAPES = "(?:[A-Za-z_][A-Za-z0-9_]*, )*"
_LOC = "(?: loc=0(?:, scale=1)?)?"
_TEMPLATE = re.compile(
    rf"\ndef _parse_args\(self, {_SHAPES}{_LOC}\):\n    return \({_SHAPES}\), loc, (?:scale|1)\n"
    rf"\ndef _parse_args_rvs\(self, {_SHAPES}{_LOC}, size=None\):\n"
    rf"    return self\._argcheck_rvs\({_SHAPES} loc, (?:scale|1), size=size\)\n"
    rf"\ndef _parse_args_stats\(self, {_SHAPES}{_LOC}, moments='mv'\):\n"
    rf"    return \({_SHAPES}\), loc, (?:scale|1), moments\n"
)


def check(function: Name, args: tuple[Symbol, ...] | None, opcode: str = "REDUCE") -> str | None:
    """Why this call is refused, or None; `args` is None where they cannot be read."""
    if function.role == "class":
        return _bounded(args)
    if function.role in CLASSES:
        fine = opcode in ("NEWOBJ", "NEWOBJ_EX") and args == ()
        return None if fine else "gives its constructor something to do"
    if function.role == "call":
        unread = "calls it with arguments that cannot be read"
        return unread if args is None else _bounded(args) or _plain(args)
    if function.role == "value":
        return "calls what may be held but not called"
    if function.role == "large":
        return _large(function.name, args)
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
                if key not in _TEXTS or not isinstance(part.items[key], str | Blob | None):
                    return f"writes the attribute {show(key)}"
            if part.odd:
                return "writes attributes whose names are made at load time"
        elif isinstance(part, Made) and (part.of is None or part.of.name not in _STATES):
            return "writes attributes that are made at load time"
        elif isinstance(part, Opaque):
            return "writes attributes that cannot be read"
    return None


def stated(thing: Made, state: Symbol, data: Buffer) -> str | None:
    """Why BUILD is refused with this state for this object, or None; long texts lie in `data`."""
    of = thing.of
    if of is None:
        return written(state)
    if of.role == "class" and of.module.split(".")[0] == "__torch__":
        return None  # compiled code of its archive takes the state; Python has no such class
    if of.role in ("enum", "zone"):
        return "writes attributes of an object that the whole process shares"
    if of.role == "distribution":
        return written(state) or _template(state, data)
    return _backed_state(state) if _pandas(of, BACKED) else written(state)


def _backed_state(state: Symbol) -> str | None:
    """Why this is refused as the state of an array of pandas, or None.

    Its `__setstate__` takes (data, dtype[, attributes]) or a dictionary of attributes.
    """
    if not isinstance(state, tuple):
        return written(state)
    # of a tuple of one it takes the attributes from there
    return next(filter(None, map(written, state if len(state) == 1 else state[2:])), None)


def _template(state: Symbol, data: Buffer) -> str | None:
    """Why this is refused as the state of a distribution of SciPy, or None.

    Its `__setstate__` hands the text of `_parse_arg_template` to `exec`; SciPy fills one fixed text
    with the names of the distribution's shapes, and nothing else passes.
    """
    if not isinstance(state, Mapped):
        return "writes attributes that cannot be read"
    text = state.items.get("_parse_arg_template", "")
    if isinstance(text, Blob) and text.kind == "str" and text.end - text.start < 2**14:
        text = str(data[text.start : text.end], "utf-8", "replace")
    fine = isinstance(text, str) and _TEMPLATE.fullmatch(text)
    return None if fine else "runs a text from its state that SciPy does not write"


def _bounded(args: tuple[Symbol, ...] | None) -> str | None:
    """Counting through a range takes as long as the range is, which is two numbers in a file."""
    counts = (str(a.of) == "builtins.range" for a in args or () if isinstance(a, Made))
    return "makes as many things as a range is long" if any(counts) else None


def _large(name: str, args: tuple[Symbol, ...] | None) -> str | None:
    if args is None:
        return "calls it with arguments that cannot be read"
    if name == "Fraction":
        texts = [a for a in args if not isinstance(a, int)]
        fine = all(isinstance(a, str) and _FRACTION.fullmatch(a) for a in texts)
        return None if fine else "makes a number of unknown length"
    if _bounded(args) or any(isinstance(a, int) and a > _HUGE for a in args):
        return "asks for more bytes than the file holds"
    if name == "str" and not all(isinstance(a, str | Blob | int | float | None) for a in args):
        return "writes out an object as text"
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
            left += [*thing.items.values(), *thing.numbers.values()]
    return None


def _array(thing: Symbol) -> bool:
    return isinstance(thing, Name) and thing.role == "class" and thing.name in _ARRAYS


def _class(thing: Symbol) -> bool:
    return isinstance(thing, Name) and thing.role in (*CLASSES, "large", "enum")


def _pandas(thing: Symbol, names: frozenset[str]) -> bool:
    return isinstance(thing, Name) and thing.module.startswith("pandas") and thing.name in names


def _index(args: tuple[Symbol, ...]) -> str | None:
    fine = _pandas(args[0], INDEXES) and _plain(args[1:]) is None
    return None if fine else "makes something else than an index of pandas"


def _backed(args: tuple[Symbol, ...]) -> str | None:
    fine = _pandas(args[0], BACKED) and len(args) == 3
    fine = fine and (args[2] is None or args[2] == () or _backed_state(args[2]) is None)
    return None if fine else "makes something else than an array of pandas"


def _zone(args: tuple[Symbol, ...]) -> str | None:
    """A time zone is read from a file of the system's data by its name, which no path passes for."""
    fine = isinstance(args[0], str) and _ZONE.fullmatch(args[0]) is not None
    fine = fine and all(isinstance(a, str | int | None) for a in args[1:])
    return None if fine else "asks for something else than a time zone"


def _member(args: tuple[Symbol, ...]) -> str | None:
    fine = len(args) == 1 and isinstance(args[0], str | int)
    return None if fine else "asks for a member by something else than its value"


def _attribute(args: tuple[Symbol, ...]) -> str | None:
    fine = len(args) == 2 and isinstance(args[0], Name | Made) and isinstance(args[1], str)
    return None if fine else "looks up what cannot be read"


def _reconstruct(args: tuple[Symbol, ...]) -> str | None:
    """An empty array of a byte, as NumPy writes it: its state then says what it is."""
    fine = _array(args[0]) and len(args) == 3 and args[1] == (0,)
    return None if fine else "makes something else than an empty array"


def _subtypes(args: tuple[Symbol, ...]) -> str | None:
    return None if all(map(_array, args[:2])) else "makes something else than an array"


def _lists(args: tuple[Symbol, ...]) -> str | None:
    """TorchScript's helpers give back their argument: anything else would have two names."""
    fine = isinstance(args[0], Listed | Mapped)
    return None if fine else "is given something else than a list"


def _scalar(args: tuple[Symbol, ...]) -> str | None:
    found = spec(args[0].args[0]) if is_dtype(args[0]) and args[0].args else None
    fine = found is not None and found[0] != "O"  # of objects it gives back its argument
    return None if fine else "makes a scalar of something else than a dtype"


def _reconstructor(args: tuple[Symbol, ...]) -> str | None:
    base = args[1] if len(args) == 3 else None
    fine = isinstance(base, Name) and base.module == "builtins" and base.name in _BASES
    fine = fine and _bounded(args) is None
    return None if fine and _class(args[0]) else "builds something else than an allowed class"


def _newobj(args: tuple[Symbol, ...]) -> str | None:
    cls = args[0]
    if not isinstance(cls, Name) or not _class(cls):
        return "builds something else than an allowed class"
    return check(cls, args[1:], "NEWOBJ")


def _newobj_ex(args: tuple[Symbol, ...]) -> str | None:
    inner, named = args[1:] if len(args) == 3 else (None, None)
    if not isinstance(inner, tuple) or not isinstance(named, Mapped):
        return "calls it with arguments that cannot be read"
    if (named.items or named.odd) and getattr(args[0], "role", None) != "class":
        return "gives its constructor something to do"
    return _newobj((args[0], *inner))


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
    fine = isinstance(maker, Name) and maker.module == "torch._utils"
    fine = fine and getattr(maker, "role", None) in (*CALLABLE, "tensor")
    fine = fine and isinstance(kind, Name) and _class(kind) and kind.module.startswith("torch")
    if not fine:
        return "rebuilds something else than a tensor"
    inner = args[2] if getattr(maker, "role", None) == "tensor" else None
    wrong = _tensor(inner) if isinstance(inner, tuple) else None
    return wrong or _plain(args) or written(args[3])


def _tensor(args: tuple[Symbol, ...]) -> str | None:
    """A view of a storage: one that reaches beyond it reads what lies behind it in memory."""
    storage, offset, size, stride = args[:4] if len(args) > 3 else (None,) * 4
    asked = storage.args if isinstance(storage, Made) and storage.of is None else None
    count = asked[4] if asked and len(asked) > 4 and asked[0] == "storage" else None
    if not isinstance(count, int):
        return _plain(args)  # another storage, which was read by itself
    if isinstance(size, Made):
        size = size.args[0] if size.args and str(size.of) == "torch.Size" else None
    if not isinstance(size, tuple) or not isinstance(stride, tuple) or len(size) != len(stride):
        return "makes a tensor of a shape that cannot be read"
    if not all(type(n) is int and n >= 0 for n in (offset, *size, *stride)):
        return "makes a tensor of a shape that cannot be read"
    kind = args[6] if len(args) > 6 and isinstance(args[6], Name) else None
    reach = element(kind) if kind else 1
    last = sum((n - 1) * step for n, step in zip(size, stride, strict=True)) + 1 if all(size) else 0
    if (int(str(offset)) + last) * reach > count:
        return "makes a tensor that reaches beyond its storage"
    return _plain(args)


def element(kind: Name) -> int:
    """Bytes of one number of a torch dtype, at least one."""
    digits = re.search(r"[a-z](\d+)", kind.name)
    return max(1, int(digits[1]) // 8) if digits else 1


_CHECKS = {
    "tensor": _tensor,
    "index": _index,
    "backed": _backed,
    "zone": _zone,
    "enum": _member,
    "getattr": _attribute,
    "dtype": dtype,
    "reconstruct": _reconstruct,
    "subtypes": _subtypes,
    "lists": _lists,
    "scalar": _scalar,
    "reconstructor": _reconstructor,
    "newobj": _newobj,
    "newobj_ex": _newobj_ex,
    "encode": _encode,
    "ufunc": _ufunc,
    "generator": _generator,
    "storage": _storage,
    "rebuild": _rebuild,
}
