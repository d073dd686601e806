"""Finished pieces of an unfinished check, one safetensors file each."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor


@dataclass(frozen=True)
class Folder:
    """A memo on disk; a file is written whole or not at all."""

    path: Path

    def get(self, name: str) -> Mapping[str, Tensor] | None:
        """The tensors kept under a name, None where there are none that can be read."""
        try:
            tensors: Mapping[str, Tensor] = safetensors.torch.load_file(self._file(name))
        except (OSError, SafetensorError):
            return None
        return tensors

    def put(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep tensors under a name."""
        self.path.mkdir(parents=True, exist_ok=True)
        part = self._file(name).with_suffix(".part")
        safetensors.torch.save_file({k: v.contiguous() for k, v in tensors.items()}, part)
        part.replace(self._file(name))

    def clear(self) -> None:
        """Forget everything; the check is finished."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _file(self, name: str) -> Path:
        return self.path / f"{name}.safetensors"
