"""Folders of images, one a class, with or without train/ and test/ above; or a zip of the same.

Classes are in alphabetical order of their folders, as in torchvision's ImageFolder.
"""

import io
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError
from holdfast.data.split import Split, divide, factorise, unit

ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".ppm"}
FORMATS = ("PNG", "JPEG", "BMP", "PPM")
PIXELS = 2**24
"""Most pixels of one image, far below Pillow's own limit."""
VALUES = 2**31
"""Most values of all images together, 8 GiB as float32."""
MEMBER = 2**26
"""Most bytes of one image file."""

Files = dict[PurePosixPath, Callable[[], bytes]]


def open_images(path: Path, seed: int) -> Split:
    """Read every image below a folder, or in a zip."""
    if path.is_dir():
        return _split(path.name, _folder(path), seed)
    try:
        with zipfile.ZipFile(path) as archive:
            return _split(path.stem, _members(archive), seed)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path} cannot be read as a zip",
            got=error,
            fix="give a complete zip without a password",
        ) from error


def _folder(root: Path) -> Files:
    """Image files below a folder."""
    return {
        PurePosixPath(file.relative_to(root).as_posix()): partial(_read, file)
        for file in sorted(root.rglob("*"))
        if file.suffix.lower() in ENDINGS and file.is_file()
    }


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(MEMBER + 1)


def _members(archive: zipfile.ZipFile) -> Files:
    """Image files in a zip; more than MEMBER bytes are not unpacked, whatever the zip says."""

    def member(info: zipfile.ZipInfo) -> Callable[[], bytes]:
        def read() -> bytes:
            with archive.open(info) as opened:
                return opened.read(MEMBER + 1)

        return read

    return {
        PurePosixPath(info.filename): member(info)
        for info in sorted(archive.infolist(), key=lambda info: info.filename)
        if PurePosixPath(info.filename).suffix.lower() in ENDINGS and not info.is_dir()
    }


def _split(name: str, files: Files, seed: int) -> Split:
    """Decode all files; folders named train and test decide the parts where there are any."""
    shown = [path for path in files if not any(p.startswith((".", "__MAC")) for p in path.parts)]
    parts = [_place(path)[0] for path in shown]
    _check_places(name, shown)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        x = unit(_decode(name, {path: files[path] for path in shown}))
    y, names = factorise([path.parent.name for path in shown], name)
    whole = Dataset(name, x, y, names)
    if set(parts) != {"train", "test"}:
        return divide(whole, seed)
    test = torch.tensor([part == "test" for part in parts])
    return Split(whole.take((~test).nonzero().flatten()), whole.take(test.nonzero().flatten()))


def _place(path: PurePosixPath) -> tuple[str, tuple[str, ...]]:
    """Part ("train", "test" or ""), and the folders above part and class."""
    above = path.parts[:-2]
    part = above[-1] if above and above[-1] in ("train", "test") else ""
    return part, above[:-1] if part else above


def _check_places(name: str, files: list[PurePosixPath]) -> None:
    """Every image lies in a class folder, and all class folders lie in one place."""
    fix = "lay them out as <class>/<image>, or as train/<class>/<image> and test/<class>/<image>"
    if not files:
        raise InputError(f"{name}: no images ({' '.join(sorted(ENDINGS))})", got="none", fix=fix)
    bare = next((f for f in files if len(f.parts) < 2), None)
    if bare is None and {f.parent.name for f in files} <= {"train", "test"}:
        bare = files[0]
    if bare is not None:
        raise InputError(f"{name}: every image lies in the folder of its class", got=bare, fix=fix)
    first = _place(files[0])
    other = next(
        (f for f in files if _place(f)[1] != first[1] or bool(_place(f)[0]) != bool(first[0])),
        None,
    )
    if other is not None:
        raise InputError(
            f"{name}: all class folders lie side by side", got=f"{files[0]} and {other}", fix=fix
        )


def _decode(name: str, files: Files) -> Tensor:
    """All images as bytes (N, C, H, W), grey only if all of them are."""
    images: list[Tensor] = []
    first, *_ = files
    for path, read in files.items():
        image = _image(path, read())
        if images and image.shape[1:] != images[0].shape[1:]:
            (h, w), (height, width) = image.shape[1:], images[0].shape[1:]
            raise InputError(
                f"{name}: all images must be of one size",
                got=f"{path} of {w} x {h} pixels beside {first} of {width} x {height}",
                fix="scale them to one size",
            )
        images.append(image)
        if image.numel() * len(files) > VALUES:
            raise InputError(
                f"{name}: too many pixels to hold",
                got=f"{len(files)} images of {image.numel()} values",
                fix="take fewer or smaller images",
            )
    channels = max(len(image) for image in images)
    return torch.stack([image.expand(channels, -1, -1) for image in images])


def _image(path: PurePosixPath, content: bytes) -> Tensor:
    """One image as bytes (1, H, W) or (3, H, W); transparency is dropped."""
    fix = "replace or remove the file"
    if len(content) > MEMBER:
        raise InputError(f"{path} is too large", got=f"more than {MEMBER} bytes", fix=fix)
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        if image.width * image.height > PIXELS:  # known from the header, before decoding
            raise InputError(
                f"{path} is too large", got=f"{image.width} x {image.height} pixels", fix=fix
            )
        if image.mode.startswith(("I", "F")):
            raise InputError(
                f"{path}: images have 8 bits a channel", got=f"mode {image.mode}", fix="convert it"
            )
        plain = image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
    except (
        OSError, SyntaxError, ValueError, EOFError, zlib.error, struct.error,
        Image.DecompressionBombWarning, Image.DecompressionBombError,
    ) as error:  # fmt: skip
        raise InputError(f"{path} cannot be read as an image", got=error, fix=fix) from error
    values = torch.from_numpy(np.array(plain))
    return values.unsqueeze(0) if values.ndim == 2 else values.permute(2, 0, 1)
