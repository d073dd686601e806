"""What the symbolic pickle machine pushes: descriptions of objects, and notes of what is wrong."""

from dataclasses import dataclass, field
from mmap import mmap

Buffer = bytes | mmap
Symbol = object
"""A constant, a tuple of symbols, or one of the classes below."""


class Malformed(Exception):
    """Here every loader stops with an error."""


class Exhausted(Exception):
    """Here we stop, though a loader would go on."""


@dataclass(eq=False, slots=True)
class Name:
    """An import. `role` says what may be done with it, None that it is refused."""

    module: str
    name: str
    role: str | None
    at: int

    def __str__(self) -> str:
        return show(f"{self.module}.{self.name}", 120)


@dataclass(eq=False, slots=True)
class Made:
    """What a call gave.

    Attributes:
        of: what was called or built, None where it does not matter.
        args: what it was called with, None where that cannot be read.
        state: attributes that BUILD wrote.
        rest: a state that is no dictionary.
        odd: there is more to its state than can be read.
        items: what SETITEM put into it.
    """

    of: Name | None
    args: tuple[Symbol, ...] | None
    state: dict[str, Symbol] = field(default_factory=dict)
    rest: Symbol = None
    odd: bool = False
    items: "Mapped | None" = None


@dataclass(eq=False, slots=True)
class Blob:
    """Bytes or a long string left where they are in the file."""

    start: int
    end: int
    kind: str


@dataclass(eq=False, slots=True)
class Listed:
    """A list or a set."""

    items: list[Symbol]


@dataclass(eq=False, slots=True)
class Mapped:
    """A dictionary: what its keys of text and number hold, and whether it has other keys."""

    items: dict[str, Symbol] = field(default_factory=dict)
    odd: bool = False
    numbers: dict[int | float | None, Symbol] = field(default_factory=dict)

    def put(self, key: Symbol, value: Symbol) -> None:
        """Set one item."""
        if isinstance(key, str):
            self.items[key] = value
        elif isinstance(key, int | float | None):
            self.numbers[key] = value
        else:
            self.odd = True


@dataclass(eq=False, slots=True)
class Opaque:
    """Something that only a loader could know."""

    what: str


@dataclass(eq=False, slots=True)
class Note:
    """One thing that is wrong.

    Attributes:
        kind: executes, unknown, misuse, expands, loader, malformed or budget.
        subject: the callable or object.
        at: byte offset of the opcode.
        reason: why.
        calls: opcodes that call it, with their offsets.
    """

    kind: str
    subject: str
    at: int
    reason: str
    calls: list[tuple[str, int]] = field(default_factory=list)


def show(thing: Symbol, limit: int = 60) -> str:
    """A short printable form, safe to put into a report."""
    if isinstance(thing, Name):
        return str(thing)
    if isinstance(thing, Opaque):
        return thing.what
    if isinstance(thing, Made):
        return f"a {thing.of.name} object" if thing.of else "an object"
    if isinstance(thing, tuple):
        return f"a tuple of {len(thing)}"
    if not isinstance(thing, str | int | float | None):
        return f"a {type(thing).__name__.lower()}"
    text = thing if isinstance(thing, str) else repr(thing)
    text = "".join(
        c if c.isprintable() and c.isascii() else f"\\u{ord(c):04x}" for c in text[:limit]
    )
    return text if len(text) < limit else text[:limit] + "..."
