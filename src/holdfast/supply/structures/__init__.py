"""What a model is made of: tensors, operators and the edges between them, from its file alone."""

from collections.abc import Callable
from pathlib import Path

from holdfast.core.errors import InputError
from holdfast.supply.structures import arrays, checkpoint, onnx_graph, safetensors
from holdfast.supply.structures.parts import Structure

Reader = Callable[[Path], Structure | None]
READERS: tuple[Reader, ...] = (safetensors.open_, arrays.open_, checkpoint.open_, onnx_graph.open_)


def open_structure(path: Path) -> Structure:
    """The structure of a model file, told by its content.

    Raises:
        InputError: there is no such file, or it is of no kind that is read here.
    """
    if not path.is_file():
        raise InputError("a model file", got=str(path), fix="give the path of a file")
    for reader in READERS:
        found = reader(path)
        if found is not None:
            return found
    raise InputError(
        "a model file whose structure can be read",
        got=f"{path.name}, of another kind",
        fix="ONNX, safetensors, .npz, .npy and pickled checkpoints of torch are read",
    )
