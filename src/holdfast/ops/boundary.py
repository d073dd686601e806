"""Finding a decision boundary and its normal from yes-or-no answers alone."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.ops import balls
from holdfast.ops.rows import put

AT_ONCE = 4096
"""Probes held in memory together; the normal is a sum, so it can be gathered in parts."""
HALVINGS = 30
"""A step is given up at a billionth of its length, where single precision ends."""


@dataclass(frozen=True, eq=False)
class Boundary:
    """The edge of the region where `reached` holds, seen from clean points outside of it.

    Attributes:
        reached: points (M, ...) and the problem (M,) each belongs to -> (M,) Boolean.
        clamp: nearest valid input.
        norm: how distance is measured.
        dims: number of features of one point.
    """

    reached: Callable[[Tensor, Tensor], Tensor]
    clamp: Callable[[Tensor], Tensor]
    norm: balls.Norm
    dims: int

    def search(self, x: Tensor, adv: Tensor, rows: Tensor) -> Tensor:
        """Bisect between x and adv; every point returned was itself seen to hold.

        The width is D^{-2} of the way for Linf, else D^{-3/2}: within it the estimate of the
        normal stays nearly unbiased (Chen et al. 2020, sec. IV).
        """
        nearest, low, high = adv, adv.new_zeros(len(adv)), adv.new_ones(len(adv))
        halvings = math.ceil(math.log2(max(2, self.dims)) * (2 if self.norm == "linf" else 1.5))
        for _ in range(halvings if len(adv) else 0):
            middle = (low + high) / 2
            point = self._between(x, adv, middle)
            hit = self.reached(point, rows)
            nearest = torch.where(balls.rows(hit, nearest) > 0, point, nearest)
            low, high = torch.where(hit, low, middle), torch.where(hit, middle, high)
        return nearest

    def _between(self, x: Tensor, adv: Tensor, share: Tensor) -> Tensor:
        """The point at `share` of the way from x to adv: on the line, or in the cube around x."""
        if self.norm != "linf":
            return x + balls.rows(share, x) * (adv - x)
        return x + balls.project(adv - x, "linf", share * balls.size(adv - x, "linf"))

    def normal(self, at: Tensor, rows: Tensor, delta: Tensor, count: int, rng: Generator) -> Tensor:
        """Sum over `count` unit draws u of (phi(at + delta u) - mean phi) u, phi = 1 or -1.

        Subtracting the mean answer lowers the variance (Chen et al. 2020, sec. III-C). Draws are
        from the cube for Linf and from the normal law otherwise, as in the authors' code.
        """
        weighted, plain, phi = torch.zeros_like(at), torch.zeros_like(at), torch.zeros_like(delta)
        for part in torch.arange(count).split(max(1, AT_ONCE // max(1, len(at)))):
            if not len(at):
                break
            owner = torch.arange(len(at), device=at.device).repeat_interleave(len(part))
            noise, reach = torch.empty_like(at[owner]), balls.rows(delta[owner], at)
            cube = self.norm == "linf"
            noise = noise.uniform_(-1, 1, generator=rng) if cube else noise.normal_(generator=rng)
            points = self.clamp(at[owner] + reach * balls.steepest(noise, "l2"))
            u = (points - at[owner]) / reach.clamp(min=balls.TINY)
            sign = self.reached(points, rows[owner]).to(at.dtype) * 2 - 1
            weighted = weighted.index_add(0, owner, balls.rows(sign, u) * u)
            plain, phi = plain.index_add(0, owner, u), phi.index_add(0, owner, sign)
        mean = balls.rows(phi / max(1, count), at)
        return torch.where(mean.abs() == 1, mean * plain, weighted - mean * plain)

    def step(self, at: Tensor, rows: Tensor, way: Tensor, length: Tensor) -> Tensor:
        """Go `length` along `way`, halving it row by row until the point holds."""
        moved, left = at, torch.arange(len(at), device=at.device)
        for _ in range(HALVINGS):
            if not len(left):
                break
            point = self.clamp(at[left] + balls.rows(length[left], at) * way[left])
            hit = self.reached(point, rows[left])
            moved = put(moved, left[hit], point[hit])
            left, length = left[~hit], length / 2
        return moved
