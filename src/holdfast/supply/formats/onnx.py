"""ONNX models, told by the fields of their protocol buffer."""

from holdfast.supply import rules
from holdfast.supply.pickle_values import Buffer
from holdfast.supply.reading import Part, Reading

_MODEL = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
"""Fields of ONNX's ModelProto and how each is encoded: 0 a number, 2 a run of bytes."""


def claims(part: Part) -> bool:
    """A first field that a ModelProto has."""
    head = part.head(1)
    return bool(head) and _MODEL.get(head[0] >> 3) == head[0] & 7


def read(reading: Reading, part: Part) -> bool:
    """Whether the fields are those of a model."""
    if not _is_onnx(part.data, part.start, part.end):
        return False
    reading.report(part, rules.UNKNOWN, "ONNX")
    return True


def _is_onnx(data: Buffer, start: int, end: int) -> bool:
    """Protocol-buffer fields of a ModelProto, to the last byte, with a graph among them."""
    pos, seen = start, set[int]()
    while pos < end:
        key, pos = _varint(data, pos, end)
        number, kind = key >> 3, key & 7
        if _MODEL.get(number) != kind or len(seen) > 64:
            return False
        value, pos = _varint(data, pos, end)
        if pos < 0 or (kind == 2 and value > end - pos):
            return False
        pos += value if kind == 2 else 0
        seen.add(number)
    return {1, 7, 8} <= seen


def _varint(data: Buffer, pos: int, end: int) -> tuple[int, int]:
    """A number and where it ends; place -1 when it does not end."""
    value = shift = 0
    while 0 <= pos < end and shift < 70:
        byte = data[pos]
        value |= (byte & 0x7F) << shift
        pos, shift = pos + 1, shift + 7
        if byte < 0x80:
            return value, pos
    return 0, -1
