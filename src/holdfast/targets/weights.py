"""Weights in safetensors files: names, shapes and numbers, and nothing that could run."""

import hashlib
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from holdfast.core.errors import InputError

SHOWN = 5
"""How many names of each kind of mismatch an error lists."""


def load_safetensors(module: nn.Module, path: str | Path) -> None:
    """Fill `module` in place; either every weight is loaded or none.

    Raises:
        InputError: the file is missing or damaged, or its names or shapes are not the module's.
    """
    state = read_safetensors(path)
    own = module.state_dict()
    problems = [
        *_named("missing", [name for name in own if name not in state]),
        *_named("unexpected", [name for name in state if name not in own]),
        *_named(
            "of another shape",
            [
                f"{name} {tuple(state[name].shape)} instead of {tuple(value.shape)}"
                for name, value in own.items()
                if name in state and state[name].shape != value.shape
            ],
        ),
        *_named(
            "of another kind of number",
            [
                f"{name} {state[name].dtype} instead of {value.dtype}"
                for name, value in own.items()
                if name in state and state[name].is_floating_point() != value.is_floating_point()
            ],
        ),
    ]
    if problems:
        raise InputError(
            f"{path} does not hold the weights of this model",
            got="; ".join(problems),
            fix="give the file that was saved from this very architecture",
        )
    module.load_state_dict(state)


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """Every tensor of a file by name."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not Path(path).is_file():
        raise InputError("no file of weights is there", got=path, fix="check the path")
    try:
        state: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path} is no complete safetensors file",
            got=error,
            fix="save it again with holdfast.targets.weights.save_safetensors; pickled checkpoints "
            "(.pt, .pth, .bin) can run code and are not read",
        ) from error
    return state


def save_safetensors(module: nn.Module, path: str | Path) -> None:
    """Write all weights and buffers; tensors that share memory are written once each."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    state = {
        name: value.detach().cpu().clone().contiguous()
        for name, value in module.state_dict().items()
    }
    try:
        save_file(state, path)
    except (OSError, SafetensorError) as error:
        raise InputError(
            "weights cannot be written", got=f"{path}: {error}", fix="check folder and rights"
        ) from error


def weights_digest(module: nn.Module) -> str:
    """sha256 of the architecture and of the names, shapes and bytes of all weights and buffers.

    The architecture is part of it since the same numbers in other layers are another model.
    """
    told = hashlib.sha256(re.sub(r" at 0x[0-9a-f]+", "", repr(module)).encode())
    for name, value in module.state_dict().items():
        told.update(repr((name, tuple(value.shape), value.dtype)).encode())
        told.update(_bytes(value))
    return told.hexdigest()


def _bytes(value: Tensor) -> bytes:
    flat = value.detach().cpu().contiguous().flatten()
    return flat.view(torch.uint8).numpy().tobytes()  # viewed as bytes, as NumPy lacks bfloat16


def _named(what: str, names: list[str]) -> list[str]:
    """One phrase with the first names, or none."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return [f"{what}: {', '.join(names[:SHOWN])}{more}"] if names else []
