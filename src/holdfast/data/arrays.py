"""NumPy archives (.npz) with x and y, or with x_train, y_train, x_test and y_test."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError
from holdfast.data.files import LIMIT
from holdfast.data.split import Split, bound, divide, factorise, unit

WHOLE = ("x", "y")
PARTS = ("x_train", "y_train", "x_test", "y_test")


def open_arrays(path: Path, seed: int) -> Split:
    """Images where x has 3 or 4 axes, a table where it has 2."""
    arrays = _read(path)
    name = path.stem
    keys = PARTS if all(key in arrays for key in PARTS) else WHOLE
    xs = [_inputs(f"{name}: {key}", arrays[key]) for key in keys[::2]]
    ys = [_labels(f"{name}: {key}", arrays[key]) for key in keys[1::2]]
    if len(xs) == 2 and xs[0].shape[1:] != xs[1].shape[1:]:
        raise InputError(
            f"{name}: training and test rows must have one shape",
            got=f"{tuple(xs[0].shape[1:])} and {tuple(xs[1].shape[1:])}",
            fix="give both the same shape",
        )
    codes, names = factorise([value for y in ys for value in y], name)
    columns = tuple(f"column {i}" for i in range(xs[0].shape[1])) if xs[0].ndim == 2 else ()
    sets = [
        Dataset(name, x, y, names, columns=columns)
        for x, y in zip(xs, codes.split([len(y) for y in ys]), strict=True)
    ]
    split = Split(sets[0], sets[1]) if len(sets) == 2 else divide(sets[0], seed)
    return bound(split) if columns else split


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an archive, of which none may hold Python objects."""
    fix = "save plain numbers with numpy.savez(path, x=..., y=...)"
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(info.file_size for info in archive.infolist())
        if size > LIMIT:
            raise InputError(
                f"{path} is too large", got=f"{size} bytes unpacked", fix="take a part"
            )
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in (*WHOLE, *PARTS) if key in archive}
            found = list(archive)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, MemoryError) as error:
        raise InputError(f"{path} cannot be read as arrays", got=error, fix=fix) from error
    if not all(key in arrays for key in WHOLE) and not all(key in arrays for key in PARTS):
        raise InputError(
            f"{path} must hold x and y, or {', '.join(PARTS)}",
            got=", ".join(found) or "nothing",
            fix=fix,
        )
    return arrays


def _inputs(what: str, x: np.ndarray) -> Tensor:
    """(N, D), or images (N, C, H, W) in [0, 1] from bytes or floats, channels first or last."""
    if x.dtype.kind not in "biuf" or x.ndim not in (2, 3, 4) or not x.size:
        raise InputError(
            f"{what} must hold numbers, (N, D), (N, H, W), (N, C, H, W) or (N, H, W, C)",
            got=f"{x.dtype} {x.shape}",
            fix="reshape or convert it",
        )
    values = unit(torch.from_numpy(x)) if x.dtype == np.uint8 and x.ndim > 2 else _float(x)
    if not values.isfinite().all():
        row, *place = (~values.isfinite()).nonzero()[0].tolist()
        raise InputError(
            f"{what} must be finite",
            got=f"NaN or infinity in row {row}, column {place[0] if len(place) == 1 else place}",
            fix="clean the data first",
        )
    if values.ndim == 2:
        return values
    if values.min() < 0 or values.max() > 1:
        raise InputError(
            f"{what}: images lie in [0, 1], or in 0 to 255 as unsigned bytes",
            got=f"{values.min():.3g} to {values.max():.3g}",
            fix="scale them; normalisation belongs into the model",
        )
    if values.ndim == 3:
        return values.unsqueeze(1)
    last = values.shape[3] in (1, 3) and values.shape[1] not in (1, 3)
    return values.permute(0, 3, 1, 2).contiguous() if last else values


def _float(x: np.ndarray) -> Tensor:
    with np.errstate(over="ignore"):  # what does not fit into float32 is refused as infinite
        return torch.from_numpy(x.astype(np.float32))


def _labels(what: str, y: np.ndarray) -> list[object]:
    """(N,) or (N, 1) whole numbers or texts."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    whole = y.dtype.kind in "biuU" or (y.dtype.kind == "f" and bool((y == np.round(y)).all()))
    if y.ndim != 1 or not whole:
        raise InputError(
            f"{what} must be one class a row, (N,)",
            got=f"{y.dtype} {y.shape}",
            fix="give whole numbers or texts",
        )
    values: list[object] = y.tolist()
    return values
