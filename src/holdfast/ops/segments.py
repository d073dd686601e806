"""Where a segment from a clean to an adversarial input crosses the boundary, by few probes."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from holdfast.ops.rows import take

PUSH = 1e-3
"""How far beyond the estimated crossing a probe is, as a share of its distance: it should hit."""


@dataclass(frozen=True, eq=False)
class Segments:
    """One segment per row: share `near` of the way is not adversarial, share `far` is.

    Regula falsi with the Illinois rule: on a linear model the first probe is at the boundary, and
    where the margin is curved the end that stays has its margin halved, so that both ends close in.
    After two misses in a row the rest is halved. Ours, for attacks that end beyond the boundary.

    Attributes:
        near: (N,) shares of the way from the clean input.
        far: (N,) larger shares.
        short: (N,) margins at `near`, below zero.
        over: (N,) margins at `far`, above zero.
        side: (N,) 1 where the last probe hit, minus the number of misses since, 0 before.
    """

    near: Tensor
    far: Tensor
    short: Tensor
    over: Tensor
    side: Tensor

    @classmethod
    def between(cls, clean: Tensor, adversarial: Tensor) -> Self:
        """From margins (N,) of the clean and the adversarial ends."""
        zero = torch.zeros_like(clean)
        return cls(zero, torch.ones_like(clean), clean, adversarial, zero)

    def take(self, index: Tensor) -> Self:
        """The rows `index`."""
        return type(self)(*take(index, self.near, self.far, self.short, self.over, self.side))

    @property
    def probe(self) -> Tensor:
        """(N,) the share to try next: where a straight line through both margins crosses zero."""
        over = self.over.clamp(min=0)
        rise = over - self.short.clamp(max=0)
        straight = (rise > 0) & (self.side > -2)
        part = torch.where(straight, over / rise, 0.5)  # of the way back from the far end
        cross = self.far - part * (self.far - self.near)
        return cross + torch.minimum(PUSH * cross, (self.far - cross) / 2)

    def told(self, margin: Tensor) -> Self:
        """After the margins (N,) at `probe` are known; above zero is adversarial."""
        at, hit = self.probe, margin > 0
        again = torch.where(hit, self.side > 0, self.side < 0)
        short = torch.where(hit, torch.where(again, self.short / 2, self.short), margin)
        over = torch.where(hit, margin, torch.where(again, self.over / 2, self.over))
        side = torch.where(hit, torch.ones_like(at), self.side.clamp(max=0) - 1)
        near, far = torch.where(hit, self.near, at), torch.where(hit, at, self.far)
        return type(self)(near, far, short, over, side)
