"""What an HDF5 file is made of: a place that moves as it is read, links, attributes, objects."""

import math
from dataclasses import dataclass, field

from holdfast.supply.pickle_values import Buffer, Malformed

HARD, SOFT, EXTERNAL = 0, 1, 64
"""Kinds of links: to an address, to a path, to another file."""


@dataclass
class Cursor:
    """A place in the file that moves as it is read, and never beyond `end`."""

    data: Buffer
    pos: int
    end: int

    def number(self, size: int) -> int:
        """An unsigned number of `size` bytes."""
        return int.from_bytes(self.raw(size), "little")

    def raw(self, size: int) -> bytes:
        """The next `size` bytes.

        Raises:
            Malformed: they are not all there.
        """
        begin = self.pos
        self.skip(size)
        return bytes(self.data[begin : self.pos])

    def skip(self, size: int) -> None:
        """Go on by `size` bytes."""
        if not 0 <= size <= self.end - self.pos:
            raise Malformed("a structure of HDF5 that goes beyond its end")
        self.pos += size

    def text(self) -> str:
        """The text up to the next zero byte."""
        stop = self.data.find(b"\0", self.pos, min(self.end, self.pos + 65_536))
        if stop < 0:
            raise Malformed("a name in HDF5 that does not end")
        begin, self.pos = self.pos, stop + 1
        return bytes(self.data[begin:stop]).decode("utf-8", "replace")


@dataclass
class Link:
    """A name in a group. `target` is an address; `file` and `path` are those of another object."""

    name: str
    kind: int
    at: int
    target: int = 0
    path: str = ""
    file: str = ""

    @property
    def external(self) -> bool:
        """Whether it leads into another file."""
        return self.kind == EXTERNAL

    @property
    def known(self) -> bool:
        """Whether it is of a kind that HDF5 itself defines."""
        return self.kind in (HARD, SOFT, EXTERNAL)


@dataclass
class Attribute:
    """A named value of an object: its bytes, or for texts of any length the place of them."""

    name: str
    at: int
    kind: int
    size: int
    count: int
    start: int
    end: int


@dataclass
class Item:
    """A group or a data set.

    Attributes:
        path: names on the way to it.
        at: its place in the file.
        files: other files that keep its numbers.
        virtual: place of the table of the data sets that it is made of, None where it has none.
        shape: lengths, None where it is no data set.
        width: bytes of one element.
        stored: bytes of the file that hold it, None where they are in pieces.
    """

    path: str
    at: int
    links: list[Link] = field(default_factory=list)
    attributes: list[Attribute] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    virtual: tuple[int, int] | None = None
    shape: tuple[int, ...] | None = None
    width: int = 0
    stored: int | None = None

    @property
    def declared(self) -> int:
        """Bytes that its numbers take in memory."""
        return math.prod(self.shape) * self.width if self.shape is not None else 0
