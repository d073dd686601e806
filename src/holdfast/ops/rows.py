"""Batches as rows: ragged batches, and taking the same rows of many things at once."""

from dataclasses import dataclass, replace
from typing import Any, Self, overload

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Ragged:
    """A padded batch of rows of different length: audio, tokens, transcripts.

    Attributes:
        data: (N, L, ...), zero at and beyond a row's length: padding is silence, id 0, nothing.
        length: (N,) whole numbers, 0 <= length <= L.
    """

    data: Tensor
    length: Tensor

    def __len__(self) -> int:
        return len(self.data)

    def take(self, index: Tensor) -> Self:
        """The rows `index`, in that order."""
        index = index.to(self.data.device)
        return replace(self, data=self.data[index], length=self.length[index])

    def to(self, device: torch.device | str) -> Self:
        """The same batch on another device."""
        return replace(self, data=self.data.to(device), length=self.length.to(device))

    @property
    def mask(self) -> Tensor:
        """(N, L) Boolean, true where `data` is not padding."""
        steps = torch.arange(self.data.shape[1], device=self.data.device)
        return steps < self.length.view(-1, 1)

    def row(self, i: int) -> Tensor:
        """Row `i` without its padding."""
        return self.data[i, : int(self.length[i])]


Items = Tensor | Ragged


def ragged(rows: list[Tensor]) -> Ragged:
    """One or more rows (L_i, ...) of any length as a batch, padded with zeros to the longest."""
    longest = max(len(row) for row in rows)
    data = torch.cat([_pad(row.unsqueeze(0), longest) for row in rows])
    return Ragged(data, torch.tensor([len(row) for row in rows], device=data.device))


def padded(rows: Items) -> Tensor:
    """The rows as one tensor, for pictures and digests."""
    return rows.data if isinstance(rows, Ragged) else rows


@overload
def pick(thing: Tensor, index: Tensor) -> Tensor: ...
@overload
def pick(thing: Ragged, index: Tensor) -> Ragged: ...
@overload
def pick(thing: Any, index: Tensor) -> Any: ...
def pick(thing: Any, index: Tensor) -> Any:
    """Rows `index` of a tensor, or of anything with `take`; numbers and None stay as they are."""
    if isinstance(thing, Tensor):
        return thing[index.to(thing.device)] if thing.ndim else thing
    return thing.take(index) if hasattr(thing, "take") else thing


def take(keep: Tensor | None, *things: Any) -> Any:
    """Rows `keep` of every one of `things`; all of them as they are when `keep` is None.

    The tool with which a method compacts its state after `keep = yield Candidate(...)`.
    Returns a list to unpack. Typed loosely, as each thing keeps its own type.
    """
    return [thing if keep is None else pick(thing, keep) for thing in things]


def among(live: Tensor, keep: Tensor | None) -> Tensor:
    """Those of the positions `live` that `keep` names as well; all of them where it is None."""
    return live if keep is None else live[torch.isin(live, keep.to(live.device))]


def batches(order: Tensor, size: int) -> list[Tensor]:
    """`order` in parts of `size`; a last row alone joins the part before it.

    Batch normalisation has no spread of one row and refuses to be trained on it.
    """
    parts = list(order.split(size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def concat(parts: list[Any]) -> Any:
    """Rows of all parts, one after the other; ragged parts are padded to the longest."""
    if isinstance(parts[0], Ragged):
        longest = max(part.data.shape[1] for part in parts)
        data = [_pad(part.data, longest) for part in parts]
        return replace(parts[0], data=torch.cat(data), length=torch.cat([p.length for p in parts]))
    return torch.cat(parts)


def _pad(data: Tensor, longest: int) -> Tensor:
    missing = longest - data.shape[1]
    return torch.cat([data, data.new_zeros(len(data), missing, *data.shape[2:])], 1)


def put(old: Any, index: Tensor, new: Any) -> Any:
    """A copy of `old` whose rows `index` are those of `new`; ragged rows may be longer."""
    if isinstance(old, Ragged):
        longest = max(new.data.shape[1], old.data.shape[1])
        data = put(_pad(old.data, longest), index, _pad(new.data, longest))
        return replace(old, data=data, length=put(old.length, index, new.length))
    return old.index_copy(0, index.to(old.device), new.detach().to(old.dtype))
