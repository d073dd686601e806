"""Damaged copies of a file: blind edits, and edits of what looks like a length or a count.

Which edits a copy gets is a function of the seed and of its number alone, so that any one of them
can be made again.
"""

import random
import struct
from collections.abc import Callable

MOST = 8
"""Edits of one copy."""
NUMBERS = (
    0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 2**24, 2**31 - 1, 2**31,
    2**32 - 1, 2**32, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 8, 2**64 - 1,
)  # fmt: skip
"""Where arithmetic of fixed width goes wrong: ends of signed and unsigned ranges, and large sizes."""
FORMS = ("<B", "<H", "<I", "<Q", ">H", ">I", ">Q")
MARKS: tuple[tuple[bytes, tuple[tuple[int, str], ...]], ...] = (
    (b"PK\x03\x04", ((8, "<H"), (18, "<I"), (22, "<I"), (26, "<H"), (28, "<H"))),
    (b"PK\x01\x02", ((20, "<I"), (24, "<I"), (28, "<H"), (30, "<H"), (42, "<I"))),
    (b"PK\x05\x06", ((8, "<H"), (10, "<H"), (12, "<I"), (16, "<I"))),
    (b"GGUF", ((4, "<I"), (8, "<Q"), (16, "<Q"), (24, "<Q"))),
    (b"\x93NUMPY", ((6, "<B"), (8, "<H"))),
    (b"\x89HDF\r\n\x1a\n", ((8, "<B"), (13, "<B"), (16, "<H"), (24, "<Q"), (40, "<Q"))),
    (b"TREE", ((5, "<B"), (6, "<H"), (24, "<Q"))),
    (b"HEAP", ((8, "<Q"), (16, "<Q"), (24, "<Q"))),
    (b"TFL3", ((-4, "<I"),)),
    (b"\x1f\x8b", ((2, "<B"), (3, "<B"))),
)
"""What known formats begin their headers with, and where lengths and counts lie after it."""

Edit = Callable[[bytearray, random.Random], None]


def _flip(data: bytearray, draw: random.Random) -> None:
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _set(data: bytearray, draw: random.Random) -> None:
    data[draw.randrange(len(data))] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))


def _cut(data: bytearray, draw: random.Random) -> None:
    del data[draw.randrange(len(data)) :]


def _drop(data: bytearray, draw: random.Random) -> None:
    start = draw.randrange(len(data))
    del data[start : start + draw.randint(1, 16)]


def _swap(data: bytearray, draw: random.Random) -> None:
    size = draw.randint(1, max(1, min(64, len(data) // 2)))
    a, b = (draw.randrange(max(1, len(data) - size + 1)) for _ in range(2))
    data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]


def _repeat(data: bytearray, draw: random.Random) -> None:
    start = draw.randrange(len(data))
    block = bytes(data[start : start + draw.randint(1, 64)])
    data[start:start] = block * draw.choice((1, 2, 8))


def _insert(data: bytearray, draw: random.Random) -> None:
    at = draw.randrange(len(data))
    data[at:at] = _number(draw, draw.choice(FORMS))


def _overwrite(data: bytearray, draw: random.Random) -> None:
    value = _number(draw, draw.choice(FORMS))
    _put(data, draw.randrange(len(data)), value)


def _field(data: bytearray, draw: random.Random) -> None:
    """A length or count of a known format; the first eight bytes where none is known."""
    found = [(at, fields) for mark, fields in MARKS if (at := _some(data, mark, draw)) >= 0]
    if not found:
        _put(data, 0, _number(draw, "<Q"))
        return
    at, fields = draw.choice(found)
    offset, form = draw.choice(fields)
    _put(data, max(0, at + offset), _number(draw, form))


def _some(data: bytearray, mark: bytes, draw: random.Random) -> int:
    """Where the mark stands, looked for from a random place on; -1 where it does not stand."""
    at = data.find(mark, draw.randrange(len(data)))
    return at if at >= 0 else data.find(mark)


def _number(draw: random.Random, form: str) -> bytes:
    size = struct.calcsize(form)
    value = draw.choice(NUMBERS) + draw.choice((-1, 0, 0, 1))
    return struct.pack(form, value % 2 ** (8 * size))


def _put(data: bytearray, at: int, value: bytes) -> None:
    end = min(len(data), at + len(value))
    data[at:end] = value[: end - at]


EDITS: tuple[tuple[Edit, int], ...] = (
    (_flip, 6), (_set, 6), (_cut, 1), (_drop, 2), (_swap, 2), (_repeat, 2), (_insert, 2),
    (_overwrite, 4), (_field, 4),
)  # fmt: skip
"""Each with how often it is drawn."""


def mutate(whole: bytes, seed: int, number: int) -> bytes:
    """The `number`-th damaged copy; never the same bytes, unless there are none to change."""
    draw = random.Random(f"{seed}/{number}")  # noqa: S311  # not for secrets
    edits, weights = [edit for edit, _ in EDITS], [weight for _, weight in EDITS]
    data = bytearray(whole)
    count = 1 + min(MOST - 1, int(draw.expovariate(0.7)))
    for edit in draw.choices(edits, weights, k=count):
        if data:
            edit(data, draw)
    if data == whole and data:
        _flip(data, draw)
    return bytes(data)
