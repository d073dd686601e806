"""Model files that hold no pickle, told by their content."""

import json
import struct

from holdfast.supply.pickle_values import Buffer

_MAGIC = {b"GGUF": "GGUF", b"\x89HDF": "HDF5", b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG"}
_MODEL = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
"""Fields of ONNX's ModelProto and how each is encoded: 0 a number, 2 a run of bytes."""


def other_format(data: Buffer, start: int, end: int) -> str:
    """Name of a known format that holds no pickle, or "" when it is none of them."""
    head = bytes(data[start : start + 4])
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return name
    if _is_safetensors(data, start, end):
        return "safetensors"
    return "ONNX" if _is_onnx(data, start, end) else ""


def _is_safetensors(data: Buffer, start: int, end: int) -> bool:
    """A header of JSON whose tensors fill the rest of the file."""
    if end - start < 10:
        return False
    (size,) = struct.unpack_from("<Q", data, start)
    if size > min(end - start - 8, 100_000_000) or data[start + 8] != ord("{"):
        return False
    try:
        header = json.loads(bytes(data[start + 8 : start + 8 + size]))
        ends = [v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return False
    return bool(max(ends, default=0) == end - start - 8 - size)


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
