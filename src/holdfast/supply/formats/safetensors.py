"""Safetensors: a header of JSON, and numbers."""

import json
import struct

from holdfast.supply.reading import Part, Reading

MOST = 100_000_000
"""Bytes of a header: the limit of the reference reader."""


def claims(part: Part) -> bool:
    """A length, and a brace behind it."""
    return part.head(1, 8) == b"{"


def read(reading: Reading, part: Part) -> bool:
    """A header whose tensors fill the rest of the file."""
    (size,) = struct.unpack_from("<Q", part.data, part.start)
    if size > min(len(part) - 8, MOST):
        return False
    try:
        header = json.loads(part.head(size, 8))
        ends = [v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"]
        fits = bool(max(ends, default=0) == len(part) - 8 - size)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return False
    if fits:
        reading.took(part, "safetensors")
    return fits
