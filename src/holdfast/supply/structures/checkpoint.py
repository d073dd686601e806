"""Tensors of a torch checkpoint, found by following its pickle symbolically; nothing is loaded."""

from collections.abc import Callable
from functools import partial
from mmap import ACCESS_READ, mmap
from pathlib import Path

import numpy as np

from holdfast.core.errors import InputError
from holdfast.supply.checkpoints import View, contents, open_checkpoint
from holdfast.supply.pickle_values import Buffer, Exhausted, Malformed
from holdfast.supply.structures.parts import Array, Structure, Tensor
from holdfast.supply.structures.safetensors import DTYPES, numbers


def open_(path: Path) -> Structure | None:
    """The tensors by dotted path, None where the file is no checkpoint of torch.

    Raises:
        InputError: it is damaged; `scan` says how.
    """
    if path.stat().st_size < 4:
        return None
    with path.open("rb") as file:
        data: Buffer = mmap(file.fileno(), 0, access=ACCESS_READ)
    try:
        opened = open_checkpoint(data)
        if opened is None:
            return None
        found = contents(opened)
    except (Malformed, Exhausted) as error:
        if bytes(data[:4]) != b"PK\x03\x04":
            return None
        raise InputError(
            "a checkpoint that can be read", got=f"{path.name}: {error}",
            fix=f"run `holdfast scan {path.name}`",
        ) from error  # fmt: skip
    if not found.tensors:
        return None
    tensors = {}
    for name, view in found.tensors.items():
        place = opened.storages.get(view.storage)
        load: Callable[[], Array] | None = None
        if view.kind in DTYPES and place is not None and 0 <= view.needs <= place[2] - place[1]:
            load = partial(_load, view, place[0], place[1])
        tensors[name] = Tensor(name, view.kind, view.size, load)
    texts = {key: str(value) for key, value in found.texts.items()}
    return Structure(path.name, "torch checkpoint", tensors, metadata=texts)


def _load(view: View, data: Buffer, start: int) -> Array:
    if not view.bytes:
        return np.zeros(view.size, DTYPES[view.kind])
    strides = tuple(step * view.width for step in view.stride)
    first = start + view.offset * view.width
    values: Array = np.ndarray(view.size, DTYPES[view.kind], data, first, strides)
    return numbers(values, view.kind).copy()
