"""Tensors of a safetensors file."""

import json
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from holdfast.core.errors import InputError
from holdfast.supply.structures.parts import Array, Structure, Tensor

DTYPES = {
    "BOOL": "?", "U8": "<u1", "I8": "<i1", "I16": "<i2", "U16": "<u2", "F16": "<f2",
    "I32": "<i4", "U32": "<u4", "F32": "<f4", "I64": "<i8", "U64": "<u8", "F64": "<f8",
    "C64": "<c8", "BF16": "<u2",
}  # fmt: skip
MOST = 100_000_000


def open_(path: Path) -> Structure | None:
    """The tensors, None where the file is no safetensors.

    Raises:
        InputError: its header does not fit its bytes; `scan` says what is wrong.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(9)
        if len(head) < 9 or head[8:] != b"{":
            return None
        (length,) = struct.unpack("<Q", head[:8])
        if length > min(size - 8, MOST):
            return None
        file.seek(8)
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError):
            return None
    told = header.pop("__metadata__", {})
    try:
        tensors = {name: _tensor(path, name, each, 8 + length) for name, each in header.items()}
        metadata = {str(key): str(value) for key, value in told.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            "a safetensors file whose header fits its bytes", got=path.name,
            fix=f"run `holdfast scan {path.name}`",
        ) from error  # fmt: skip
    return Structure(path.name, "safetensors", tensors, metadata=metadata)


def _tensor(path: Path, name: str, told: dict[str, list[int]], base: int) -> Tensor:
    begin, end = told["data_offsets"]
    shape, kind = tuple(map(int, told["shape"])), str(told["dtype"])
    load: Callable[[], Array] | None = None
    if kind in DTYPES:
        if end - begin != int(np.prod(shape, dtype=np.int64)) * np.dtype(DTYPES[kind]).itemsize:
            raise ValueError("a tensor that does not fit its bytes")
        load = partial(_load, path, kind, shape, base + begin)
    return Tensor(name, kind, shape, load)


def _load(path: Path, kind: str, shape: tuple[int, ...], at: int) -> Array:
    if 0 in shape:
        return np.zeros(shape, DTYPES[kind])
    values: Array = np.memmap(path, DTYPES[kind], "r", at, shape)
    return numbers(values, kind)


def numbers(values: Array, kind: str) -> Array:
    """What the stored values mean: BF16 is the upper half of a float32, which NumPy does not have."""
    if kind == "BF16":
        return (np.asarray(values, np.uint32) << 16).view(np.float32)
    return np.asarray(values)
