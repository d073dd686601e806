"""Everything that a method must not decide for itself."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

import torch
from torch import Tensor


class Memo(Protocol):
    """Keeps finished pieces of long work under names, until the whole is finished."""

    def get(self, name: str) -> Mapping[str, Tensor] | None: ...
    def put(self, name: str, tensors: Mapping[str, Tensor]) -> None: ...


def _silent(done: int, total: int) -> None:
    """No progress is shown."""


@dataclass(frozen=True)
class Run:
    """Seed, batch, device, allowance and who hears of progress.

    Attributes:
        seed: root of all random streams.
        batch_size: rows handled at once, with one random stream each; part of a record's key.
        device: where models and batches live.
        queries: allowed model passes per row, a gradient counting two; None for no limit.
        progress: told (done, total) in rows, rounds or whatever the engine counts.
        memo: keeps finished batches, so that a killed attack goes on where it was; None for none.
    """

    seed: int = 0
    batch_size: int = 256
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    queries: int | None = None
    progress: Callable[[int, int], None] = _silent
    memo: Memo | None = None

    @property
    def quiet(self) -> Self:
        """The same run for a part of a longer work: no progress and no memo of its own."""
        return replace(self, progress=_silent, memo=None)

    def generator(self, *key: object, device: torch.device | str | None = None) -> torch.Generator:
        """A random stream of its own for every key, on the run's device or on another one.

        It is the same on every machine, but another one on a GPU than on a CPU.
        """
        digest = hashlib.sha256(repr((self.seed, *key)).encode()).digest()
        seed = int.from_bytes(digest[:7], "big")
        return torch.Generator(self.device if device is None else device).manual_seed(seed)

    def order(self, count: int, *key: object) -> torch.Tensor:
        """(count,) numbers from 0 on, shuffled by the stream of that key, on the CPU."""
        return torch.randperm(count, generator=self.generator(*key, device="cpu"))
