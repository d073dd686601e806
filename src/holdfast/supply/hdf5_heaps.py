"""HDF5's store for many links or attributes of one object: a fractal heap, and a tree into it."""

from collections.abc import Callable, Iterator

from holdfast.supply.hdf5_parts import Cursor
from holdfast.supply.pickle_values import Exhausted, Malformed

Opener = Callable[[int, int | None], Cursor]
_PLACES = {5: (4, 7), 6: (8, 7), 8: (0, 8), 9: (0, 8)}
"""Where the heap's id lies in a record: of links by name and by age, of attributes by both."""
_DEPTH = 64


def records(opened: Opener, address: int, wide: int, long: int) -> Iterator[bytes]:
    """Ids of everything that a tree of version 2 points at.

    Raises:
        Malformed: it is damaged.
        Exhausted: it holds records of another kind.
    """
    head = opened(address, None)
    if head.raw(4) != b"BTHD":
        raise Malformed("a tree of HDF5 without its mark")
    head.skip(1)
    kind, node_size, width = head.number(1), head.number(4), head.number(2)
    depth = head.number(2)
    head.skip(2)
    root, count, total = head.number(wide), head.number(2), head.number(long)
    if kind not in _PLACES or depth > _DEPTH:
        raise Exhausted("a tree of HDF5 that is not read")
    skip, size = _PLACES[kind]
    if width < skip + size or node_size < 16:
        raise Malformed("a tree of HDF5 whose records are too short")
    widths = _widths(node_size, width, wide, depth)
    nodes, given = [(root, count, depth)] if total else [], 0
    while nodes:
        place, held, level = nodes.pop()
        node = opened(place, node_size)
        if (
            node.raw(4) != (b"BTIN" if level else b"BTLF")
            or node.number(1)
            or node.number(1) != kind
        ):
            raise Malformed("a node of an HDF5 tree that is none")
        for _ in range(held):
            yield node.raw(width)[skip : skip + size]
        given += held
        if level:
            pointer, below = widths[level]
            for _ in range(held + 1):
                child, its = node.number(wide), node.number(pointer)
                node.skip(below)
                nodes.append((child, its, level - 1))
    if given != total:
        raise Malformed("a tree of HDF5 that holds another number of records than it says")


def _widths(node_size: int, width: int, wide: int, depth: int) -> list[tuple[int, int]]:
    """Bytes of the two counts behind each pointer of a node, by level."""
    most = (node_size - 10) // width
    pointer = (most.bit_length() + 7) // 8
    found, below, total = [(0, 0)], 0, most
    for level in range(1, depth + 1):
        found.append((pointer, below if level > 1 else 0))
        room = (node_size - 10 - wide - pointer - found[level][1]) // (
            width + wide + pointer + found[level][1]
        )
        total = (room + 1) * total + room
        below = (total.bit_length() + 7) // 8
    return found


class Heap:
    """A fractal heap: blocks of doubling size, found through rows of pointers.

    Raises:
        Malformed: it is damaged.
        Exhausted: its blocks are packed by filters.
    """

    def __init__(self, opened: Opener, address: int, wide: int, long: int) -> None:
        head = opened(address, None)
        if head.raw(4) != b"FRHP":
            raise Malformed("a heap of HDF5 without its mark")
        head.skip(1)
        head.skip(2)
        filters, flags, largest = head.number(2), head.number(1), head.number(4)
        if filters:
            raise Exhausted("a packed heap of HDF5, which is not read")
        head.skip(2 * long + 2 * wide + 8 * long)
        self._columns, self._first = head.number(2), head.number(long)
        self._direct, bits = head.number(long), head.number(2)
        head.skip(2)
        self._root, self._rows = head.number(wide), head.number(2)
        self._opened, self._wide = opened, wide
        self._offset = (bits + 7) // 8
        self._head = 5 + wide + self._offset + (4 if flags & 2 else 0)
        self._length = min(
            (self._direct.bit_length() + 6) // 8, (largest.bit_length() - 1) // 8 + 1
        )
        if not self._columns or not self._first or self._first & (self._first - 1):
            raise Malformed("a heap of HDF5 whose blocks have no size")
        self._wide_rows = (self._direct // self._first).bit_length() + 1

    def find(self, record: bytes) -> Cursor:
        """The bytes that an id stands for."""
        kind = record[0] >> 4 & 3
        if kind != 0:
            raise Exhausted("an object of HDF5 in a place of its own, which is not read")
        offset = int.from_bytes(record[1 : 1 + self._offset], "little")
        size = int.from_bytes(record[1 + self._offset :][: self._length], "little")
        place, room, into = self._block(offset)
        if into < self._head or into + size > room:
            raise Malformed("an object of HDF5 that lies across blocks of its heap")
        block = self._opened(place, room)
        if block.raw(4) != b"FHDB":
            raise Malformed("a block of an HDF5 heap that is none")
        return self._opened(place + into, size)

    def _block(self, offset: int) -> tuple[int, int, int]:
        """The direct block that holds a place of the heap: its address, its size, and how far in."""
        if self._rows == 0:
            return self._root, self._first, offset
        address, rows = self._root, self._rows
        for _ in range(_DEPTH):
            row, column, size, into = self._spot(offset)
            if row >= rows:
                raise Malformed("a place of an HDF5 heap beyond its rows")
            node = self._opened(address, None)
            if node.raw(4) != b"FHIB":
                raise Malformed("a block of an HDF5 heap that is none")
            node.skip(1 + self._wide + self._offset)
            node.skip((row * self._columns + column) * self._wide)
            address = node.number(self._wide)
            if row < self._wide_rows:
                return address, size, into
            rows = (size // self._first // self._columns).bit_length()
            offset = into
        raise Exhausted("a heap of HDF5 of too many levels")

    def _spot(self, offset: int) -> tuple[int, int, int, int]:
        """Row and column of the block that holds a place, its size, and how far into it that is."""
        begin, size, row = 0, self._first, 0
        while offset >= begin + size * self._columns:
            begin += size * self._columns
            size *= 2 if row else 1
            row += 1
            if row > _DEPTH:
                raise Malformed("a place of an HDF5 heap beyond its rows")
        column, into = divmod(offset - begin, size)
        return row, column, size, into
