"""Every format that is told by its content: a module with `claims(part)` and `read(reading, part)`.

The order matters: archives come first, as their mark can lie behind other data, and pickles last,
as almost any bytes are the beginning of one. `read` says whether the part was of this format after
all. A new format is one module, and one name in `FORMATS`.
"""

from typing import Protocol

from holdfast.supply.formats import (
    compressed,
    hdf5,
    media,
    npy,
    onnx,
    pickles,
    safetensors,
    tar,
    zips,
)
from holdfast.supply.formats import gguf as gguf_format
from holdfast.supply.reading import Part, Reading


class Format(Protocol):
    """What a module of this package offers."""

    def claims(self, part: Part) -> bool:
        """Whether the first bytes are this format's, looked at without reading on."""

    def read(self, reading: Reading, part: Part) -> bool:
        """Read all of it; false where it is something else after all."""


FORMATS: tuple[Format, ...] = (
    zips, npy, compressed, tar, safetensors, gguf_format, hdf5, onnx, media, pickles,
)  # fmt: skip


def dispatch(reading: Reading, part: Part) -> bool:
    """Read a part as the first format that takes it; false where none does."""
    if part.raw:  # the numbers of a tensor look like anything
        if not pickles.read(reading, part):
            reading.took(part, "numbers")
        return True
    return any(each.claims(part) and each.read(reading, part) for each in FORMATS)
