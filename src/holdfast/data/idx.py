"""IDX files, the format of MNIST: two zero bytes, type, number of axes, their sizes, the values.

Format: http://yann.lecun.com/exdb/mnist, section "File formats"; sizes are big-endian 32-bit.
"""

import math
from pathlib import Path

import torch
from torch import Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError
from holdfast.data.files import read_bytes
from holdfast.data.split import Split, divide, factorise, unit

BYTES = 0x08
PARTS = ("train", "t10k")


def open_idx(path: Path, seed: int) -> Split:
    """A folder with the MNIST file names, or one file of images with its labels beside it."""
    if path.is_file():
        return divide(_join(path.name.split("-images")[0], [_pair(path)])[0], seed)
    images = [found for part in PARTS if (found := _find(path, f"{part}-images-idx3-ubyte"))]
    parts = _join(path.name, [_pair(each) for each in images])
    return Split(parts[0], parts[1]) if len(parts) == 2 else divide(parts[0], seed)


def is_idx(path: Path) -> bool:
    """Whether a file is named as IDX files are, or a folder holds one named as MNIST's are."""
    if path.is_file():
        return "ubyte" in path.name or "idx" in path.name
    return any(_find(path, f"{part}-images-idx3-ubyte") for part in PARTS)


def read_idx(path: Path, axes: int) -> Tensor:
    """The values of one file as bytes, with `axes` axes."""
    content = read_bytes(path)
    fix = "give a complete IDX file of unsigned bytes"
    wanted = bytes([0, 0, BYTES, axes])
    if content[:4] != wanted:
        raise InputError(
            f"{path}: an IDX file of {axes} axes starts with {wanted.hex(' ')}",
            got=content[:4].hex(" ") or "an empty file",
            fix=fix,
        )
    start = 4 + 4 * axes
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    if len(content) != start + math.prod(shape) or len(content) == start:
        raise InputError(
            f"{path}: the header promises {' x '.join(map(str, shape))} values",
            got=f"{max(0, len(content) - start)} bytes",
            fix=fix,
        )
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).view(shape)


def _find(folder: Path, name: str) -> Path | None:
    return next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)


def _pair(images: Path) -> tuple[Path, Path]:
    """A file of images and the file of their labels."""
    stem = images.name.removesuffix(".gz")
    name = stem.replace("images", "labels").replace("idx3", "idx1")
    labels = _find(images.parent, name) if "images" in stem else None
    if labels is None:
        raise InputError(
            "the labels of an IDX file must lie beside it, with 'images' in the name of one file "
            "and 'labels' in the other's",
            got=f"{images} alone",
            fix="name them as MNIST's files are, such as train-images-idx3-ubyte and "
            "train-labels-idx1-ubyte",
        )
    return images, labels


def _join(name: str, pairs: list[tuple[Path, Path]]) -> list[Dataset]:
    """One data set a pair of files, with the classes numbered over all of them."""
    images = [read_idx(path, 3) for path, _ in pairs]
    labels = [read_idx(path, 1) for _, path in pairs]
    for (path, _), x, y in zip(pairs, images, labels, strict=True):
        if len(x) != len(y):
            raise InputError(
                f"{path}: one label for every image",
                got=f"{len(x)} images and {len(y)} labels",
                fix="give the two files of the same set",
            )
        if x.shape[1:] != images[0].shape[1:]:
            raise InputError(
                f"{path}: all images must be of one size",
                got=f"{tuple(x.shape[1:])} beside {tuple(images[0].shape[1:])}",
                fix="scale them to one size",
            )
    codes, names = factorise(torch.cat(labels).tolist(), name)
    sizes = [len(y) for y in labels]
    return [
        Dataset(name, unit(x).unsqueeze(1), y, names)
        for x, y in zip(images, codes.split(sizes), strict=True)
    ]
