"""HDF5 read within bounds: groups, links, attributes and the layout of data sets, never the numbers.

Written after the format specification, versions 0 to 3 of the superblock. Addresses are followed
once each, every length is checked against the file, and what a file declares is never allocated.
"""

import math
from collections.abc import Iterator

from holdfast.supply.hdf5_heaps import Heap, records
from holdfast.supply.hdf5_parts import HARD, SOFT, Attribute, Cursor, Item, Link
from holdfast.supply.pickle_values import Buffer, Exhausted, Malformed

MAGIC = b"\x89HDF\r\n\x1a\n"
_OBJECTS = 100_000
_STEPS = 500_000
_SHOWN = 400
_TEXT = 64 * 2**20
_STRING, _VARIABLE = 3, 9
_SPACE, _LINKS, _TYPE, _LINK, _FILES, _LAYOUT, _ATTRIBUTE = 1, 2, 3, 6, 7, 8, 12
_MORE, _TABLE, _DRIVER, _ATTRIBUTES = 16, 17, 20, 21


class File:
    """One HDF5 file between two places of a buffer; `origin` is where its addresses count from.

    Raises:
        Malformed: it has no superblock, or is shorter than that says.
    """

    def __init__(self, data: Buffer, origin: int, end: int) -> None:
        self.data, self.origin, self.end = data, origin, end
        self._steps = _STEPS
        self._heaps: dict[int, dict[int, tuple[int, int]]] = {}
        head = self._cursor(0)
        if head.raw(8) != MAGIC:
            raise Malformed("an HDF5 file without its mark")
        version = head.number(1)
        if version > 3:
            raise Exhausted(f"version {version} of HDF5's superblock, which is not read")
        if version < 2:
            head.skip(4)
        self.wide, self.long = head.number(1), head.number(1)
        if self.wide not in (2, 4, 8) or self.long not in (2, 4, 8):
            raise Malformed("an HDF5 file whose addresses have an odd size")
        head.skip(1 if version > 1 else 9 if version == 0 else 13)
        base = head.number(self.wide)  # what counts is the place of the mark; this moves the end
        extension = head.number(self.wide)
        self.size = head.number(self.wide) - base
        self.driver = version < 2 and not self._nowhere(head.number(self.wide))
        if version < 2:
            head.skip(self.wide)
        self.root = head.number(self.wide)
        if version > 1 and not self._nowhere(extension):
            self.driver = any(kind == _DRIVER for kind, _, _ in self._messages(extension))
        if self.size <= 0 or origin + self.size > end:
            raise Malformed("an HDF5 file that is shorter than it says")

    def walk(self) -> Iterator[Item]:
        """Every object that can be reached from the root, each once.

        Raises:
            Malformed: a structure cannot be read.
            Exhausted: there are more than are read, or one is of a kind that is not read.
        """
        stack, seen = [("", self.root)], {self.root}
        while stack:
            path, address = stack.pop()
            item = self._object(path or "/", address)
            yield item
            for link in item.links:
                if link.kind == HARD and link.target not in seen:
                    seen.add(link.target)
                    stack.append((f"{path}/{link.name}"[-_SHOWN:], link.target))
            if len(seen) > _OBJECTS:
                raise Exhausted(f"an HDF5 file of more than {_OBJECTS:,} objects")

    def texts(self, attribute: Attribute) -> Iterator[bytes]:
        """The texts of an attribute, without what fills them up; nothing where it has none."""
        cursor = Cursor(self.data, attribute.start, attribute.end)
        if attribute.kind == _STRING:
            if attribute.size > _TEXT:
                raise Exhausted(f"an attribute of {attribute.size:,} bytes")
            for _ in range(
                min(attribute.count, (cursor.end - cursor.pos) // max(attribute.size, 1))
            ):
                yield cursor.raw(attribute.size).rstrip(b"\0")
        elif attribute.kind == _VARIABLE:
            width = 8 + self.wide
            for _ in range(min(attribute.count, (cursor.end - cursor.pos) // width)):
                size, place, index = cursor.number(4), cursor.number(self.wide), cursor.number(4)
                if size and index:
                    begin, end = self._heaped(place, index)
                    if size > end - begin or size > _TEXT:
                        raise Malformed("a text of HDF5 that is longer than its place")
                    yield bytes(self.data[begin : begin + size])

    def sources(self, table: tuple[int, int]) -> list[str]:
        """Files that a virtual data set takes its numbers from; "." is this one."""
        begin, end = self._heaped(*table)
        cursor = Cursor(self.data, begin, end)
        cursor.skip(1)
        count = cursor.number(self.long)
        return [cursor.text()] if count else []

    def _nowhere(self, address: int) -> bool:
        return address == (1 << (8 * self.wide)) - 1

    def _spend(self, steps: int) -> None:
        """Take from what may be read: structures can share their bytes, and be more than the file."""
        self._steps -= steps
        if self._steps < 0:
            raise Exhausted("an HDF5 file of more structures than are read")

    def _cursor(self, address: int, size: int | None = None) -> Cursor:
        """A place by its address; every one costs a step, so that no loop is endless."""
        self._spend(1)
        begin = self.origin + address
        end = self.end if size is None else begin + size
        if begin > self.end or end > self.end:
            raise Malformed("an address of HDF5 beyond the end of the file")
        return Cursor(self.data, begin, end)

    def _object(self, path: str, address: int) -> Item:
        """One object by its header."""
        item = Item(path, self.origin + address)
        for kind, flags, body in self._messages(address):
            if flags & 2 and kind == _TYPE:
                item.width = self._shared(body)
                continue
            if flags & 2 and kind in (_SPACE, _LAYOUT, _ATTRIBUTE, _LINK, _FILES):
                raise Exhausted("a shared message of HDF5, which is not read")
            self._message(item, kind, body)
        return item

    def _message(self, item: Item, kind: int, body: Cursor) -> None:
        """One message of an object's header."""
        if kind == _SPACE:
            item.shape = self._shape(body)
        elif kind == _TYPE:
            item.width = _type(body)[1]
        elif kind == _FILES:
            item.files += self._files(body)
        elif kind == _LAYOUT:
            self._layout(item, body)
        elif kind in (_ATTRIBUTE, _ATTRIBUTES):
            bodies = [body] if kind == _ATTRIBUTE else self._dense(body, 2)
            item.attributes += map(self._attribute, bodies)
        elif kind in (_LINK, _LINKS):
            item.links += map(self._link, [body] if kind == _LINK else self._dense(body, 8))
        elif kind == _TABLE:
            item.links += self._table(body.number(self.wide), body.number(self.wide))

    def _shared(self, body: Cursor) -> int:
        """Bytes of one element, of a type that is kept in an object of its own."""
        version, kind = body.number(1), body.number(1)
        if version == 3 and kind == 1:
            raise Exhausted("a shared message of HDF5, which is not read")
        body.skip(6 if version == 1 else 0)
        found = self._messages(body.number(self.wide))
        return max((_type(each)[1] for kind, _, each in found if kind == _TYPE), default=0)

    def _messages(self, address: int) -> Iterator[tuple[int, int, Cursor]]:
        """Messages of an object header of version 1 or 2: kind, flags, body."""
        head = self._cursor(address)
        new = self.data[head.pos : head.pos + 4] == b"OHDR"
        if new:
            head.skip(5)
            flags = head.number(1)
            head.skip((16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0))
            size, ordered = head.number(1 << (flags & 3)), bool(flags & 4)
        else:
            if head.number(1) != 1:
                raise Malformed("an object header of HDF5 of unknown version")
            head.skip(7)
            size, ordered = head.number(4), False
            head.skip(4)
        blocks = [self._cursor(head.pos - self.origin, size)]
        least = (4 + 2 * ordered) if new else 8
        while blocks:
            block = blocks.pop()
            while block.end - block.pos >= least:
                kind, size, flags = block.number(1 if new else 2), block.number(2), block.number(1)
                block.skip(2 * ordered if new else 3)
                body = self._cursor(block.pos - self.origin, size)
                block.skip(size)
                if kind == _MORE:
                    blocks.append(self._continued(body, new))
                elif kind:
                    yield kind, flags, body

    def _continued(self, body: Cursor, new: bool) -> Cursor:
        """Where a header goes on."""
        block = self._cursor(body.number(self.wide), body.number(self.long))
        if new:
            if block.raw(4) != b"OCHK":
                raise Malformed("a header of HDF5 that goes on nowhere")
            block.end -= 4
        return block

    def _shape(self, body: Cursor) -> tuple[int, ...]:
        version, rank = body.number(1), body.number(1)
        if version not in (1, 2) or rank > 32:
            raise Malformed("a data space of HDF5 that cannot be read")
        body.skip(1)
        empty = version == 2 and body.number(1) == 2
        body.skip(5 if version == 1 else 0)
        return (0,) if empty else tuple(body.number(self.long) for _ in range(rank))

    def _link(self, body: Cursor) -> Link:
        """A link message."""
        at = body.pos
        if body.number(1) != 1:
            raise Malformed("a link of HDF5 of unknown version")
        flags = body.number(1)
        kind = body.number(1) if flags & 8 else HARD
        body.skip((8 if flags & 4 else 0) + (1 if flags & 16 else 0))
        name = body.raw(body.number(1 << (flags & 3))).decode("utf-8", "replace")
        self._spend((body.end - at) // 16)
        if kind == HARD:
            return Link(name, kind, at, body.number(self.wide))
        value = body.raw(body.number(2))
        if kind == SOFT:
            return Link(name, kind, at, path=value.decode("utf-8", "replace"))
        file, _, path = value[1:].decode("utf-8", "replace").partition("\0")
        return Link(name, kind, at, path=path.rstrip("\0"), file=file)

    def _table(self, tree: int, heap: int) -> Iterator[Link]:
        """Links of an old group: a tree of symbol tables, and a heap of names."""
        head = self._cursor(heap)
        if head.raw(4) != b"HEAP":
            raise Malformed("a group of HDF5 without its names")
        head.skip(4)
        size = head.number(self.long)
        head.skip(self.long)
        names = self._cursor(head.number(self.wide), size)
        nodes, seen = [tree], {tree}
        while nodes:
            node = self._cursor(nodes.pop())
            mark = node.raw(4)
            if mark == b"SNOD":
                yield from self._symbols(node, names)
                continue
            if mark != b"TREE" or node.number(1) != 0:
                raise Malformed("a group of HDF5 whose tree is damaged")
            node.skip(1)
            count = node.number(2)
            node.skip(2 * self.wide)
            for _ in range(count):
                node.skip(self.long)
                child = node.number(self.wide)
                if child in seen:
                    raise Malformed("a tree of HDF5 that holds itself")
                seen.add(child)
                nodes.append(child)

    def _symbols(self, node: Cursor, names: Cursor) -> Iterator[Link]:
        node.skip(2)
        for _ in range(node.number(2)):
            at = node.pos
            name = Cursor(self.data, names.pos, names.end)
            name.skip(node.number(self.wide))
            told = name.text()
            self._spend(1 + len(told) // 16)
            target, cached = node.number(self.wide), node.number(4)
            node.skip(4)
            scratch = node.raw(16)
            if cached == 2:
                value = Cursor(self.data, names.pos, names.end)
                value.skip(int.from_bytes(scratch[:4], "little"))
                path = value.text()
                self._spend(len(path) // 16)
                yield Link(told, SOFT, at, path=path)
            else:
                yield Link(told, HARD, at, target)

    def _files(self, body: Cursor) -> list[str]:
        """Names of the files that keep a data set's numbers."""
        body.skip(6)
        count, heap = body.number(2), self._cursor(body.number(self.wide))
        if heap.raw(4) != b"HEAP":
            raise Malformed("a data set of HDF5 without the names of its files")
        heap.skip(4)
        size = heap.number(self.long)
        heap.skip(self.long)
        begin = heap.number(self.wide)
        found = []
        for _ in range(count):
            name = self._cursor(begin, size)
            name.skip(body.number(self.long))
            body.skip(2 * self.long)
            found.append(name.text())
            self._spend(len(found[-1]) // 16)
        return found

    def _layout(self, item: Item, body: Cursor) -> None:
        """How the numbers of a data set are kept."""
        version = body.number(1)
        if version in (1, 2):
            body.skip(1)
            kind = body.number(1)
            if kind == 1:
                body.skip(5)
                item.stored = 0 if self._nowhere(body.number(self.wide)) else None
            return
        kind = body.number(1)
        if version not in (3, 4, 5) or kind > 3:
            raise Exhausted("a layout of HDF5 that is not read")
        if kind == 0:
            item.stored = body.number(2)
        elif kind == 1:
            address, size = body.number(self.wide), body.number(self.long)
            item.stored = 0 if self._nowhere(address) else size
            if item.stored and self.origin + address + size > self.end and not item.files:
                raise Malformed("a data set of HDF5 that is longer than the file")
        elif kind == 3:
            place, index = body.number(self.wide), body.number(4)
            item.virtual = (place, index)

    def _attribute(self, body: Cursor) -> Attribute:
        """An attribute message."""
        at, version, flags = body.pos, body.number(1), body.number(1)
        self._spend((body.end - at) // 4096)
        sizes = [body.number(2) for _ in range(3)]
        if version not in (1, 2, 3):
            raise Malformed("an attribute of HDF5 of unknown version")
        body.skip(1 if version == 3 else 0)
        parts = []
        for size in sizes:
            parts.append(Cursor(self.data, body.pos, body.pos + size))
            body.skip(size + (-size % 8 if version == 1 else 0))
        name = (
            bytes(self.data[parts[0].pos : parts[0].end]).rstrip(b"\0").decode("utf-8", "replace")
        )
        if version > 1 and flags & 3:
            return Attribute(name, at, -1, 0, 0, body.pos, body.end)
        kind, width = _type(parts[1])
        count = math.prod(self._shape(parts[2]))
        return Attribute(name, at, kind, width, count, body.pos, body.end)

    def _dense(self, body: Cursor, age: int) -> Iterator[Cursor]:
        """Messages that are kept in a heap beside the header, where there are many.

        `age` is the size of a number that stands before, where their order is kept.
        """
        body.skip(1)
        body.skip(age if body.number(1) & 1 else 0)
        heap, tree = body.number(self.wide), body.number(self.wide)
        if self._nowhere(heap):
            return
        store = Heap(self._cursor, heap, self.wide, self.long)
        for record in records(self._cursor, tree, self.wide, self.long):
            yield store.find(record)

    def _heaped(self, address: int, index: int) -> tuple[int, int]:
        """Where an object of a global heap lies."""
        if address not in self._heaps:
            self._heaps[address] = self._collection(address)
        if index not in self._heaps[address]:
            raise Malformed("a text of HDF5 that is not in its heap")
        return self._heaps[address][index]

    def _collection(self, address: int) -> dict[int, tuple[int, int]]:
        head = self._cursor(address)
        if head.raw(4) != b"GCOL":
            raise Malformed("a heap of HDF5 without its mark")
        head.skip(4)
        size = head.number(self.long)
        body, found = self._cursor(address, size), dict[int, tuple[int, int]]()
        body.skip(8 + self.long)
        while body.end - body.pos >= 8 + self.long:
            index = body.number(2)
            self._spend(1)
            body.skip(6)
            length = body.number(self.long)
            if index == 0:
                break
            begin = body.pos
            body.skip(length)
            found[index] = (begin, begin + length)
            body.skip(min(-length % 8, body.end - body.pos))
        return found


def _type(body: Cursor) -> tuple[int, int]:
    """Class of a type, and bytes of one element; sequences of any length are told from texts."""
    mark = body.number(1)
    bits, size = body.number(3), body.number(4)
    kind = mark & 15
    if kind == _VARIABLE and bits & 15 != 1:
        kind = -2
    return kind, size
