"""Every format that is told by its content: a module with `claims(part)` and `read(reading, part)`.

The order matters: archives come first, as their mark can lie behind other data, and pickles last,
as almost any bytes are the beginning of one. `read` says whether the part was of this format after
all. A new format is one module, and one name in `FORMATS`.
"""

from typing import Protocol

from holdfast.supply.formats import (
    compressed,
    coreml,
    gguf,
    graph_text,
    hdf5,
    json_text,
    keras,
    marks,
    media,
    msgpack,
    npy,
    onnx,
    pickles,
    python_source,
    safetensors,
    savedmodel,
    sealed,
    skops,
    tar,
    text,
    tflite,
    torch_export,
    xml_models,
    zips,
)
from holdfast.supply.reading import Part, Reading


class Format(Protocol):
    """What a module of this package offers."""

    def claims(self, part: Part) -> bool:
        """Whether the first bytes are this format's, looked at without reading on."""

    def read(self, reading: Reading, part: Part) -> bool:
        """Read all of it; false where it is something else after all."""


FORMATS: tuple[Format, ...] = (
    tflite, tar, zips, npy, safetensors, compressed,  # archives; those that another mark can hide
    gguf, sealed, hdf5, onnx, coreml, media, marks, msgpack,  # marks at the beginning
    skops, savedmodel, torch_export, keras, graph_text, json_text, xml_models, python_source, text,
    pickles,
)  # fmt: skip


def dispatch(reading: Reading, part: Part) -> bool:
    """Read a part as the first format that takes it; false where none does."""
    if part.raw:  # the numbers of a tensor look like anything
        if not pickles.read(reading, part):
            reading.took(part, "numbers")
        return True
    return any(each.claims(part) and each.read(reading, part) for each in FORMATS)
