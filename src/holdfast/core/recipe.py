"""How to train a copy of a model, and what an attacker is assumed to know beside the target."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from holdfast.core.dataset import Dataset
from holdfast.core.record import Measurement
from holdfast.core.target import Scores


@runtime_checkable
class Recipe(Protocol):
    """Trains a fresh model of the target's kind: for shadows, poisoning, extraction and hardening."""

    @property
    def digest(self) -> str: ...
    def train(self, data: Dataset, seed: int) -> Scores: ...


@runtime_checkable
class TorchRecipe(Recipe, Protocol):
    """A recipe whose models are PyTorch modules.

    `bank` trains one model per row of `member` (M, N) Boolean, model m on the rows where
    member[m] holds, all at once (torch.func), and returns their scores (M, N', K) on `queries`.
    """

    def build(self, seed: int) -> nn.Module: ...
    def wrap(self, module: nn.Module) -> Scores: ...
    def fit(self, module: nn.Module, data: Dataset, seed: int) -> Iterator[Measurement]: ...
    def bank(self, data: Dataset, member: Tensor, queries: Tensor, seed: int) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Background:
    """What the attacker knows beside the target; None where nothing is assumed.

    Attributes:
        recipe: how models like the target are trained.
        data: rows from the target's distribution, none of them the target's own training rows.
        peers: other models for the same task.
    """

    recipe: Recipe | None = None
    data: Dataset | None = None
    peers: tuple[Scores, ...] = ()
