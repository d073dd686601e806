"""What a checkpoint of torch holds, without loading it: its tensors, texts and numbers by dotted path.

The pickle is followed on the symbolic machine, which says for each tensor where its numbers lie, of
which type they are, and by which strides they are read.
"""

from dataclasses import dataclass, field
from math import prod
from pathlib import PurePosixPath

from holdfast.core.errors import InputError
from holdfast.supply import archives, zip_entries
from holdfast.supply.formats.pickles import TORCH_LEGACY, spans_of
from holdfast.supply.pickle_machine import Stream
from holdfast.supply.pickle_names import CLASSES
from holdfast.supply.pickle_opcodes import run
from holdfast.supply.pickle_values import (
    Blob,
    Buffer,
    Listed,
    Made,
    Malformed,
    Mapped,
    Name,
    Symbol,
    show,
)
from holdfast.supply.reading import Allowance

_TYPES = {
    "Float": ("F32", 4), "Double": ("F64", 8), "Half": ("F16", 2), "BFloat16": ("BF16", 2),
    "Long": ("I64", 8), "Int": ("I32", 4), "Short": ("I16", 2), "Char": ("I8", 1),
    "Byte": ("U8", 1), "Bool": ("BOOL", 1), "ComplexFloat": ("C64", 8),
    "float8_e4m3fn": ("F8_E4M3", 1), "float8_e5m2": ("F8_E5M2", 1), "float32": ("F32", 4),
    "float8_e4m3fnuz": ("F8_E4M3FNUZ", 1), "float8_e5m2fnuz": ("F8_E5M2FNUZ", 1),
    "uint16": ("U16", 2), "uint32": ("U32", 4), "uint64": ("U64", 8), "float64": ("F64", 8),
    "float16": ("F16", 2), "bfloat16": ("BF16", 2), "int64": ("I64", 8), "int32": ("I32", 4),
    "int16": ("I16", 2), "int8": ("I8", 1), "uint8": ("U8", 1), "bool": ("BOOL", 1),
    "complex64": ("C64", 8),
}  # fmt: skip
"""By the word before "Storage", or by the name of a dtype: what safetensors calls it, and its bytes."""

_TEXT = 2**16
_ENTRIES = 5_000
_OBJECTS = 500_000
_DEPTH = 200
_MODULE = ("_parameters", "_buffers", "_modules")
_PARAMETERS = ("_rebuild_parameter", "_rebuild_parameter_with_state")


@dataclass(frozen=True)
class View:
    """A tensor: which numbers of which storage, in which order."""

    storage: str
    kind: str
    width: int
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return prod(self.size) * self.width

    @property
    def needs(self) -> int:
        """Bytes from the beginning of its storage to the end of its last number."""
        last = sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))
        return (self.offset + last + 1) * self.width if self.bytes else 0

    @property
    def plain(self) -> bool:
        """Whether its numbers lie one after the other."""
        step = 1
        for length, stride in zip(self.size[::-1], self.stride[::-1], strict=True):
            if length != 1 and stride != step:
                return prod(self.size) == 0
            step *= length
        return True


@dataclass
class Checkpoint:
    """An archive or an old file of torch: its pickle, followed, and where each storage lies."""

    stream: Stream
    storages: dict[str, tuple[Buffer, int, int]]


@dataclass
class Contents:
    """What was found on the way through the objects of a checkpoint.

    Attributes:
        data: the bytes of its pickle.
        tensors: by dotted path.
        texts: what is made of texts and numbers alone, by dotted path, as for JSON.
        dropped: what is neither, as sentences without a full stop.
        lost: paths of what would run code and was given tensors.
        entries: objects that were looked at.
    """

    data: Buffer
    tensors: dict[str, View] = field(default_factory=dict)
    texts: dict[str, object] = field(default_factory=dict)
    dropped: dict[str, None] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    entries: int = 0


def open_checkpoint(data: Buffer) -> Checkpoint | None:
    """The pickle that holds the object, followed to its end; None where this is another format.

    Raises:
        Malformed: it is damaged, or written on a machine of the other byte order.
        Exhausted: it unpacks to more than is read.
    """
    if bytes(data[:4]) != b"PK\x03\x04":
        return _legacy(data)
    record = zip_entries.find(data, 0, len(data))
    if record is None:
        raise Malformed("a zip archive without its directory")
    return _zip(data, zip_entries.directory(data, 0, len(data), record).members)


def _zip(data: Buffer, entries: list[archives.Member]) -> Checkpoint | None:
    members = {entry.name: entry for entry in entries}
    name = next((n for n in members if PurePosixPath(n).name == "data.pkl"), None)
    if name is None:
        return None
    prefix, allowance = name.removesuffix("data.pkl"), Allowance()
    order = members.get(f"{prefix}byteorder")
    if order and bytes(data[order.start : min(order.end, order.start + 16)]).strip() == b"big":
        raise Malformed("whose numbers are written in big-endian order, which is not converted")
    inside = _inside(data, members[name], allowance)
    stream = run(Stream(*inside, allowance, joblib=False))
    storages = {
        key: _inside(data, members[f"{prefix}data/{key}"], allowance)
        for key in stream.storages
        if f"{prefix}data/{key}" in members
    }
    return Checkpoint(stream, storages)


def _inside(data: Buffer, member: archives.Member, allowance: Allowance) -> tuple[Buffer, int, int]:
    """Where the bytes of a member lie: in the file, or unpacked in memory."""
    if member.method == archives.STORED:
        return data, member.start, member.end
    if member.method not in archives.PACKED:
        raise Malformed(f"packed by method {member.method}, which is not read")
    content, wrong = archives.inflate(
        data, member.start, member.end, archives.PACKED[member.method], allowance
    )
    if wrong:
        raise Malformed(wrong)
    return content, 0, len(content)


def _legacy(data: Buffer) -> Checkpoint | None:
    pos, values, allowance = 0, list[Symbol](), Allowance()
    asked, streams = dict[str, tuple[int, str]](), list[Stream]()
    while len(values) < 5:
        stream = run(Stream(data, pos, len(data), allowance, joblib=False))
        if not stream.done or (not values and stream.value != TORCH_LEGACY):
            return None
        pos, values = stream.pos, [*values, stream.value]
        streams.append(stream)
        asked.update(stream.storages)
    system = values[2].items if isinstance(values[2], Mapped) else {}
    if system.get("little_endian") is not True:
        raise Malformed("whose numbers are written in big-endian order, which is not converted")
    spans = {key: (data, start, end) for key, start, end in spans_of(data, pos, values[4], asked)}
    return Checkpoint(streams[3], spans)


def _below(path: str, key: object) -> str:
    name = str(key).encode("utf-8", "replace").decode()
    return f"{path}.{name}" if path else name


def contents(checkpoint: Checkpoint) -> Contents:
    """Everything that a checkpoint holds.

    Raises:
        InputError: it is made to be endless.
    """
    found = Contents(checkpoint.stream.data)
    _walk(found, checkpoint.stream.value, "", 0)
    return found


def _walk(walk: Contents, thing: Symbol, path: str, depth: int) -> None:
    """Follow an object down to its tensors, texts and numbers."""
    walk.entries += 1
    if depth > _DEPTH or walk.entries > _OBJECTS:
        raise InputError("a checkpoint of a usual shape", got=f"{walk.entries:,} objects, {depth} deep",
                         fix="ask for the weights as safetensors")  # fmt: skip
    if (view := _view(thing)) is not None:
        name = path or "tensor"
        while name in walk.tensors or name == "__metadata__":
            name += "#"
        walk.tensors[name] = view
        return
    known, value = _plain(walk, thing, 0)
    if known:
        walk.texts[path or "value"] = value
        return
    inside, told = _inner(thing)
    if inside is None:
        if _holds(thing):
            walk.lost.append(path or "the object")
        walk.dropped[f"{path or 'the object'}: {_called(thing)}"] = None
        return
    if told:
        walk.dropped[f"{path or 'the object'}: {told}"] = None
    for key, item in inside:
        _walk(walk, item, _below(path, key) if key != "" else path, depth + 1)


def _inner(thing: Symbol) -> tuple[list[tuple[object, Symbol]] | None, str]:
    """What lies within an object and under which names, None where nobody can tell; what is lost."""
    if isinstance(thing, Mapped):
        odd = "entries whose keys are neither text nor number" if thing.odd else ""
        return list(thing.items.items()) + list(thing.numbers.items()), odd
    if isinstance(thing, Listed | tuple):
        return list(enumerate(thing.items if isinstance(thing, Listed) else thing)), ""
    of = thing.of if isinstance(thing, Made) else None
    if not isinstance(thing, Made) or of is None or of.role not in CLASSES:
        return None, ""
    if of.module == "collections":
        return _inner(thing.items or Mapped())
    if all(key in thing.state for key in _MODULE):
        tables: list[tuple[object, Symbol]] = [("", thing.state[key]) for key in _MODULE]
        return tables, f"the class {of}, of which the tensors are kept"
    state = Mapped(dict(thing.state), thing.odd)
    if state.items:
        return _inner(state)[0], f"the class {of}, of which attributes are kept"
    return None, ""


def _view(thing: Symbol) -> View | None:
    """The tensor that a call would rebuild, None where it is something else."""
    called = _rebuilds(thing)
    storage, offset, size, stride, *more = called[1] if called else (None,) * 4
    asked = storage.args if isinstance(storage, Made) and storage.of is None else None
    if not called or not asked or len(asked) < 5 or not isinstance(asked[1], Name):
        return None
    kind = asked[1].name.removesuffix("Storage")
    extra = more[2] if len(more) > 2 else None
    if called[0] == "_rebuild_tensor_v3" and isinstance(extra, Name):
        kind = extra.name
    if kind not in _TYPES or (isinstance(extra, Mapped) and any(extra.items.values())):
        return None  # conjugated or negated when it is read
    size, stride = (s.args[0] if isinstance(s, Made) and s.args else s for s in (size, stride))
    if not isinstance(size, tuple) or not isinstance(stride, tuple):
        return None
    part = asked[5] if len(asked) > 5 else None  # before torch 1.6: a storage that is part of one
    first = part[1] if isinstance(part, tuple) and len(part) == 3 else 0
    numbers = [first, offset, *size, *stride]
    if len(size) != len(stride) or not all(type(n) is int and n >= 0 for n in numbers):
        return None
    return View(str(asked[2]), *_TYPES[kind], sum(numbers[:2]), size, stride)


def _rebuilds(thing: Symbol) -> tuple[str, tuple[Symbol, ...]] | None:
    """Name and arguments of the call that makes a tensor, within those that make it a parameter."""
    for _ in range(8):
        if not isinstance(thing, Made) or thing.of is None or not thing.args:
            return None
        of, args = thing.of, thing.args
        if of.role == "tensor":
            return (of.name, args) if len(args) > 3 else None
        if of.role == "rebuild" and len(args) == 4:
            maker, inner = args[0], args[2]
            known = isinstance(maker, Name) and isinstance(inner, tuple)
            thing = Made(maker, inner) if known else None  # type: ignore[arg-type]
        elif of.module == "torch._utils" and of.name in _PARAMETERS:
            thing = args[0]
        else:
            return None
    return None


def _plain(walk: Contents, thing: Symbol, depth: int) -> tuple[bool, object]:
    """Whether this is made of texts and numbers alone, and then the same for JSON."""
    walk.entries += 1
    if thing is None or isinstance(thing, str | int | float):
        return not isinstance(thing, str) or len(thing) <= _TEXT, thing
    if isinstance(thing, Blob) and thing.kind == "str" and thing.end - thing.start <= _TEXT:
        return True, str(walk.data[thing.start : thing.end], "utf-8", "replace")
    if isinstance(thing, Name) and thing.role == "value":
        return True, str(thing)
    if depth > 8 or walk.entries > _OBJECTS:
        return False, None
    inside, told = _inner(thing) if isinstance(thing, Mapped | Listed | tuple) else (None, "")
    if inside is None or told:
        return False, None
    found = [(key, *_plain(walk, item, depth + 1)) for key, item in inside]
    if not all(known for _, known, _ in found) or len(found) > _ENTRIES:
        return False, None
    if isinstance(thing, Mapped):
        return True, {str(key): value for key, _, value in found}
    return True, [value for _, _, value in found]


def _holds(thing: Symbol) -> bool:
    """Whether a tensor went into what nobody can tell the result of."""
    left, seen = [thing], set[int]()
    while left:
        each = left.pop()
        if id(each) in seen or not isinstance(each, Made | Mapped | Listed | tuple):
            continue
        seen.add(id(each))
        if isinstance(each, Made):
            if _view(each) is not None:
                of = thing.of if isinstance(thing, Made) else None
                return of is None or of.role is None
            left += [*(each.args or ()), *each.state.values(), each.rest, each.items]
        else:
            left += [item for _, item in _inner(each)[0] or ()]
    return False


def _called(thing: Symbol) -> str:
    if isinstance(thing, Blob):
        return f"{thing.end - thing.start:,} {'bytes' if thing.kind == 'bytes' else 'letters'}"
    if isinstance(thing, Made) and thing.of:
        return "bytes" if thing.of.role == "encode" else f"what {thing.of} makes"
    return show(thing)
