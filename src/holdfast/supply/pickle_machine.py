"""State of a symbolic pickle machine: what is read, pushed, remembered, imported and called.

It keeps the stack, the marks and the memo exactly as `pickle.Unpickler` does, but what it pushes
are descriptions. Where the real machine refuses and could be made to read on, this one notes it and
reads on: a reader that stops at the first oddity is blind to what a more forgiving loader runs.
"""

from dataclasses import dataclass, field

from holdfast.supply import pickle_names as names
from holdfast.supply.pickle_arrays import is_dtype, item
from holdfast.supply.pickle_checks import check, stated
from holdfast.supply.pickle_expansion import HASHED, hashes
from holdfast.supply.pickle_values import (
    Blob,
    Buffer,
    Listed,
    Made,
    Malformed,
    Mapped,
    Name,
    Note,
    Opaque,
    Symbol,
    show,
)
from holdfast.supply.reading import Allowance

LONG = 512
"""Longer strings stay in the file: no allowed name or setting is that long."""

_WRAPS = ("builtins.bytearray", "builtins.bytes", "io.BytesIO", "_io.BytesIO")
MANY = 500
"""Notes that are kept of one stream."""

_KEPT = (None, *names.HARMLESS)
_TAKERS = ("reconstructor", "newobj", "newobj_ex", "getattr", "backed")
"""Roles whose first argument is a class, which they do not call."""
_READS = ("load", "loads", "_load", "_loads", "Unpickler", "_Unpickler", "read_pickle")
"""Names of what reads a pickle: all are refused, and the bytes that they are given are followed."""


@dataclass(slots=True)
class Stream:
    """One pickle stream, and all that following it showed.

    Attributes:
        data: the bytes it lies in.
        pos: next byte; after a run, where the stream ended.
        end: first byte that is not its own.
        allowance: shared by all streams of a file.
        joblib: array bytes lie in the stream behind their headers, as joblib writes them.
        script: names under `__torch__` are compiled code of the same archive, not Python.
        notes: what is wrong, one note for each kind and subject.
        nested: files within the stream that are loaded along with it: bytes, start and end.
        storages: element count and type of every torch storage that is asked for, by key.
        wrappers: how many array headers of joblib were met.
        done: whether STOP was reached.
        value: what was on the stack then.
        steps: opcodes followed.
        carriers: tuples that hold a class which may not be kept, by identity.
        registry: what the stream has put into copyreg's table of extensions.
    """

    data: Buffer
    pos: int
    end: int
    allowance: Allowance
    joblib: bool = True
    script: bool = False
    notes: dict[tuple[str, str], Note] = field(default_factory=dict)
    nested: list[tuple[Buffer, int, int]] = field(default_factory=list)
    storages: dict[str, tuple[int, str]] = field(default_factory=dict)
    wrappers: int = 0
    done: bool = False
    value: Symbol = None
    steps: int = 0
    at: int = 0
    proto: int = 0
    frame_end: int = 0
    stack: list[Symbol] = field(default_factory=list)
    below: list[list[Symbol]] = field(default_factory=list)
    memo: dict[int, Symbol] = field(default_factory=dict)
    carriers: dict[int, Symbol] = field(default_factory=dict)
    registry: dict[int, tuple[Symbol, Symbol]] = field(default_factory=dict)

    def note(self, kind: str, subject: str, reason: str, at: int | None = None) -> Note:
        """Write down what is wrong; of many of the same kind and subject the first stands."""
        new = Note(kind, subject, self.at if at is None else at, reason)
        if len(self.notes) >= MANY:
            return new
        return self.notes.setdefault((kind, subject or reason), new)

    def take(self, count: int) -> int:
        """Pass over `count` bytes; where they start."""
        start = self.pos
        if count < 0 or count > self.end - start:
            raise Malformed(f"{count} bytes are announced where {self.end - start} are left")
        self.pos = start + count
        return start

    def unsigned(self, width: int) -> int:
        """Little-endian number of `width` bytes."""
        start = self.take(width)
        if width == 1:
            return self.data[start]
        return int.from_bytes(self.data[start : start + width], "little")

    def line(self) -> bytes:
        """Up to a newline. At the end of the file loaders drop the last byte instead, so do we."""
        start = self.pos
        stop = self.data.find(b"\n", start, self.end)
        if stop < 0:
            self.note("malformed", "", "a line without an end")
            stop = max(start, self.end - 1)
        self.pos = min(stop + 1, self.end)
        return bytes(self.data[start:stop])

    def text(self, count: int, encoding: str) -> None:
        """Push a string of `count` bytes."""
        start = self.take(count)
        if count > LONG:
            self.push(Blob(start, start + count, "str"))
            return
        try:
            self.push(str(self.data[start : start + count], encoding, "surrogatepass"))
        except UnicodeDecodeError as error:
            raise Malformed("a string that is not UTF-8") from error

    def blob(self, count: int) -> None:
        """Push `count` bytes."""
        start = self.take(count)
        self.push(Blob(start, start + count, "bytes"))

    def push(self, thing: Symbol) -> None:
        """Onto the stack."""
        self.stack.append(thing)

    def pop(self) -> Symbol:
        """The topmost thing above the last mark."""
        if not self.stack:
            raise Malformed("the stack is empty")
        return self.stack.pop()

    def top(self) -> Symbol:
        """The topmost thing, which stays."""
        if not self.stack:
            raise Malformed("the stack is empty")
        return self.stack[-1]

    def pop_mark(self) -> list[Symbol]:
        """Everything above the last mark."""
        if not self.below:
            raise Malformed("there is no mark")
        items, self.stack = self.stack, self.below.pop()
        return items

    def remember(self, key: int) -> None:
        """PUT."""
        if key < 0:
            raise Malformed("a negative memo key")
        if key > 1000 + 4 * self.steps:
            self.note("malformed", "", "a memo key out of all proportion, for which room is made")
        self.memo[key] = self.top()

    def recall(self, key: int) -> None:
        """GET."""
        if key not in self.memo:
            raise Malformed("a memo key that was never set")
        self.push(self.memo[key])

    def hold(self, things: tuple[Symbol, ...] | list[Symbol]) -> None:
        """These become part of another object, through which a check could be passed by."""
        for thing in things:
            kind = type(thing)
            if kind is Name and isinstance(thing, Name) and thing.role not in _KEPT:
                self.note("misuse", str(thing), "is kept instead of being called", thing.at)
            elif kind is tuple and id(thing) in self.carriers:
                self.note("misuse", "a class", "is kept within a tuple", self.at)

    def bundle(self, items: list[Symbol]) -> tuple[Symbol, ...]:
        """A tuple, which may hold a class that is not to be kept only as the argument of a call."""
        made, carries = tuple(items), False
        for thing in items:
            kind = type(thing)
            if kind is Name and isinstance(thing, Name) and thing.role not in _KEPT:
                if thing.role in names.CLASSES:
                    carries = True
                else:
                    self.hold([thing])
            elif kind is tuple and id(thing) in self.carriers:
                carries = True
        if carries:
            self.carriers[id(made)] = made
        return made

    def name(self, module: Symbol, name: Symbol) -> Symbol:
        """The object that an import would give."""
        if not isinstance(module, str) or not isinstance(name, str):
            subject = f"{show(module)}.{show(name)}"
            self.note("unknown", subject, "its name is made at load time and cannot be read")
            return Opaque("an import whose name is made at load time")
        if self.proto < 3:
            module, name = names.renamed(module, name)
        role = names.role(module, name)
        if role is None and self.script and module.split(".")[0] == "__torch__":
            role = "class"
        found = Name(module, name, role, self.at)
        if role is None:
            through = f"a dotted name that reaches through {show(module)}, " if "." in name else ""
            if names.executes(module, name):
                self.note("executes", str(found), through + "known to run code, files or network")
            else:
                self.note("unknown", str(found), through + "not on the allow list")
        return found

    def call(self, function: Symbol, args: Symbol, opcode: str) -> Symbol:
        """What a call would give; a call that is not allowed is noted."""
        told = args if isinstance(args, tuple) else None
        if not isinstance(function, Name):
            self.note("unknown", show(function), f"{opcode} calls what was made at load time")
            return Made(None, told)
        if function.role is None:
            self._refused(function, told, opcode)
            return Made(function, told)
        reason = check(function, told, opcode) or self._carried(function, args)
        if reason:
            kind = "executes" if function.role == "getattr" else "misuse"
            note = self.note(kind, str(function), f"{opcode} {reason}")
            if kind == "executes":
                note.calls.append((opcode, self.at))
        elif function.role == "storage":
            self._load(told)
        elif function.role == "getattr" and told:
            return self._attribute(told[0], told[1])
        elif function.role in _TAKERS and told and type(told[0]) is Name:
            return Made(told[0], ())
        if function.module in ("builtins", "collections"):
            self._hashed(told or ())
        return Made(function, told)

    def _refused(self, function: Name, args: tuple[Symbol, ...] | None, opcode: str) -> None:
        """Note a call of what is not on the list, and follow the pickles it is given to load."""
        for kind in ("executes", "unknown"):
            found = self.notes.get((kind, str(function)))
            if found and len(found.calls) < 3:
                found.calls.append((opcode, self.at))
        if str(function) == "copyreg.add_extension" and args and len(args) == 3:
            if isinstance(args[2], int):
                self.registry[args[2]] = (args[0], args[1])
        elif function.name.split(".")[-1] in _READS:
            for thing in args or ():
                content = self._content(thing)
                if content is not None:
                    self._follow(content)

    def _hashed(self, things: tuple[Symbol, ...]) -> None:
        """Charge for what a set or dictionary made of lists would hash."""
        for thing in things:
            for each in thing.items if isinstance(thing, Listed) else ():
                self.key(each)
                if isinstance(each, Listed) and each.items:
                    self.key(each.items[0])

    def key(self, thing: Symbol) -> None:
        """Hash a key: of a tuple all that lies within, again for each time that it lies there."""
        if type(thing) is tuple and (count := hashes(thing)):
            self.steps += count
            if count > HASHED:
                self.note("expands", "", "a key of more things than can be hashed")

    def _carried(self, function: Name, args: Symbol) -> str | None:
        """Why a call is refused that is handed a class which may not be kept, or None."""
        if id(args) not in self.carriers or not isinstance(args, tuple):
            return None
        rest = args[1:] if function.role in _TAKERS else args
        kept = any(
            id(thing) in self.carriers
            or (isinstance(thing, Name) and thing.role in ("built", "distribution"))
            for thing in rest
        )
        return "is handed a class that it might call" if kept else None

    def _attribute(self, base: Symbol, attribute: Symbol) -> Symbol:
        """What `getattr` gives: of a class as by a dotted name, of an instance a method of it."""
        of = base.of if isinstance(base, Made) else base
        if not isinstance(of, Name) or not isinstance(attribute, str):
            self.note("executes", "builtins.getattr", "looks up what cannot be read")
            return Opaque("an attribute")
        found = self.name(of.module, f"{of.name}.{attribute}")
        return found if isinstance(base, Name) else Opaque("a method")

    def extension(self, code: int) -> Symbol:
        """EXT1, EXT2 and EXT4: an import by its number in copyreg's table."""
        subject = f"extension {code}"
        self.note("unknown", subject, "is looked up in copyreg's registry at load time")
        if code in self.registry:
            return self.name(*self.registry[code])
        return Opaque(subject)

    def _load(self, args: tuple[Symbol, ...] | None) -> None:
        """Bytes that are handed to `torch.load` are a file of their own."""
        content = self._content(args[0]) if args else None
        if content is None:
            self.note("budget", "torch.storage._load_from_bytes", "loads bytes made at load time")
        else:
            self._follow(content)

    def _follow(self, content: tuple[Buffer, int, int]) -> None:
        """Read these bytes later as a file of their own; the same bytes only once."""
        if content in self.nested:
            return
        if len(self.nested) < MANY:
            self.nested.append(content)
        else:
            self.note("budget", "", "more files are loaded from within than are read")

    def _content(self, thing: Symbol) -> tuple[Buffer, int, int] | None:
        """The bytes that a symbol stands for: where they lie, from where to where."""
        for _ in range(4):
            if isinstance(thing, Made) and thing.args and str(thing.of) in _WRAPS:
                thing = thing.args[0]
        if isinstance(thing, Made) and str(thing.of) == "_codecs.encode" and thing.args:
            thing = self._encoded(thing.args)  # how protocols 0 to 2 write bytes
        if isinstance(thing, Blob):
            return self.data, thing.start, thing.end
        return (thing, 0, len(thing)) if isinstance(thing, bytes) else None

    def _encoded(self, args: tuple[Symbol, ...]) -> bytes | None:
        """What a string in the file gives in Latin-1."""
        if len(args) != 2:
            return None
        text = args[0]
        try:
            if isinstance(text, Blob):
                text = str(self.data[text.start : text.end], "utf-8")
            fine = isinstance(text, str) and args[1] in ("latin1", "latin-1")
            return text.encode("latin-1") if fine and isinstance(text, str) else None
        except ValueError:
            return None

    def grow(self, thing: Symbol, items: list[Symbol], opcode: str) -> None:
        """APPEND, APPENDS, ADDITEMS, SETITEM and SETITEMS onto anything but a list or a dict."""
        self.hold(items)
        if isinstance(thing, Name):
            self.note("misuse", str(thing), f"{opcode} calls a method of an imported object")
        elif not isinstance(thing, Made):
            self.note("misuse", show(thing), f"{opcode} on what has no items")
        elif thing.of is not None and thing.of.role in ("built", "distribution", "enum"):
            self.note("misuse", show(thing), f"{opcode} calls a method of an object without items")
        elif opcode.startswith("SETITEM"):
            thing.items = thing.items or Mapped()
            for key, value in zip(items[::2], items[1::2], strict=True):
                self.key(key)
                thing.items.put(key, value)

    def persistent(self, key: Symbol) -> Symbol:
        """PERSID and BINPERSID: the loader decides; torch's ask for storages and known classes."""
        parts = key if isinstance(key, tuple) else ()
        if len(parts) >= 5 and parts[0] == "storage":
            of, name, count = parts[1], parts[2], parts[4]
            if isinstance(of, Name) and isinstance(name, str) and isinstance(count, int):
                self.storages[name] = (count, of.name)
            return Made(None, parts)
        if len(parts) > 1 and parts[0] == "module":
            return parts[1]
        self.note("loader", show(key), "a persistent id, with which the loader does what it likes")
        return Opaque("a persistent object")

    def attributes(self, thing: Made, state: Symbol) -> None:
        """What BUILD writes into an instance."""
        self.hold([state])
        if reason := stated(thing, state, self.data):
            self.note("misuse", show(thing), f"BUILD {reason}")
        parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
        read = [part for part in parts if isinstance(part, Mapped)]
        for part in read:
            thing.state.update(part.items)
            thing.odd |= part.odd
        if not read:
            # a second state adds to the first in ways that depend on the class
            thing.odd |= thing.rest is not None
            thing.rest = state
        thing.odd |= any(isinstance(part, Made | Opaque) for part in parts)
        if is_dtype(thing):
            try:
                item(thing)
            except Malformed as error:
                self.note("misuse", show(thing), str(error))
