"""A labelled set of inputs with what is known about it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from holdfast.core.errors import InputError
from holdfast.core.space import Box
from holdfast.ops.rows import Items, Ragged, pick


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows in a fixed order.

    Attributes:
        name: what people call it.
        x: (N, ...) inputs, images as (N, C, H, W) in [0, 1]; ragged for sound and text.
        y: (N,) class indices; (N, H, W) for dense tasks; (N, S) symbols, 0 after the last one, for
            transcripts.
        classes: names by index.
        space: what a valid input is.
        groups: sensitive attributes by name, (N,) codes each; never seen by a model.
        columns: names of a table's columns.
    """

    name: str
    x: Items
    y: Tensor
    classes: tuple[str, ...]
    space: object = field(default_factory=Box)
    groups: Mapping[str, Tensor] = field(default_factory=dict)
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise InputError(
                f"{self.name}: one label for every row",
                got=f"{len(self.x)} rows and {len(self.y)} labels",
                fix="give both the same length",
            )
        data = self.tensor
        if data.is_floating_point() and not data.isfinite().all():
            row = int((~data.isfinite()).flatten(1).any(1).nonzero()[0])
            raise InputError(
                f"{self.name}: inputs must be finite",
                got=f"NaN or infinity in row {row}",
                fix="clean the data first",
            )
        if len(self.y) and not (int(self.y.min()) >= 0 and int(self.y.max()) < len(self.classes)):
            raise InputError(
                f"{self.name}: labels must be 0 to {len(self.classes) - 1}",
                got=f"{int(self.y.min())} to {int(self.y.max())}",
                fix="number the classes from 0",
            )

    def __len__(self) -> int:
        return len(self.y)

    @property
    def tensor(self) -> Tensor:
        """The inputs as one tensor, padded where they are ragged."""
        return self.x.data if isinstance(self.x, Ragged) else self.x

    @property
    def digest(self) -> str:
        """sha256 of inputs, labels and shapes: two sets with one digest are the same set."""
        told = hashlib.sha256(repr((self.tensor.shape, self.tensor.dtype, self.classes)).encode())
        parts = [self.tensor, self.y, *(self.groups[key] for key in sorted(self.groups))]
        if isinstance(self.x, Ragged):
            parts.append(self.x.length)
        for part in parts:
            told.update(part.detach().cpu().contiguous().numpy().tobytes())
        return told.hexdigest()

    def take(self, index: Tensor) -> Self:
        """The rows `index`, in that order."""
        groups = {key: value[index] for key, value in self.groups.items()}
        return replace(self, x=pick(self.x, index), y=self.y[index], groups=groups)

    def first(self, count: int) -> Self:
        """At most `count` leading rows."""
        return self.take(torch.arange(min(count, len(self))))

    def with_rows(self, x: Items, y: Tensor) -> Self:
        """Same meaning, other inputs and labels of the same number."""
        return replace(self, x=x, y=y)
