"""Arrays of .npy and .npz files."""

import zipfile
from functools import partial
from pathlib import Path

import numpy as np

from holdfast.core.errors import InputError
from holdfast.supply.structures.parts import Array, Structure, Tensor


def open_(path: Path) -> Structure | None:
    """The arrays, None where the file is of another kind.

    Raises:
        InputError: an array holds Python objects, which only a pickle can give.
    """
    with path.open("rb") as file:
        head = file.read(6)
    if head == b"\x93NUMPY":
        return Structure(path.name, "npy", {"array": _tensor("array", _load_one(path))})
    if head[:4] != b"PK\x03\x04":
        return None
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        if not names or len(names) != len(archive.namelist()):
            return None
    tensors = {}
    for name in names:
        stem = name.removesuffix(".npy")
        first = _load_member(path, stem)
        tensors[stem] = Tensor(
            stem, str(first.dtype), first.shape, partial(_load_member, path, stem)
        )
    return Structure(path.name, "npz", tensors)


def _tensor(name: str, values: Array) -> Tensor:
    return Tensor(name, str(values.dtype), values.shape, lambda: values)


def _load_one(path: Path) -> Array:
    try:
        found: Array = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise _objects(path) from error
    return found


def _load_member(path: Path, name: str) -> Array:
    try:
        with np.load(path, allow_pickle=False) as archive:
            found: Array = archive[name]
    except ValueError as error:
        raise _objects(path) from error
    return found


def _objects(path: Path) -> InputError:
    return InputError(
        "arrays of numbers", got=f"{path.name}, which holds objects or is damaged",
        fix=f"run `holdfast scan {path.name}`",
    )  # fmt: skip
