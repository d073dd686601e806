"""The smallest change that reaches a hyperplane without leaving a box, row by row and exactly."""

from typing import Literal

import torch
from torch import Tensor

from holdfast.ops.balls import TINY

_Norm = Literal["linf", "l2", "l1", "l0"]
_FAR = 1e12
"""Taken for infinite bounds."""


def step_to(w: Tensor, gap: Tensor, low: Tensor, high: Tensor, norm: _Norm) -> Tensor:
    """The change d of least norm with <w, d> = gap and low <= d <= high, where low <= 0 <= high.

    Where no change within the bounds gets that far, the one that gets farthest. Features without
    weight never move. With every feature sent the way that helps, the optimality conditions leave
    one unknown, a level t (Croce & Hein 2020, sec. 3.1, with the bounds as part of the problem):

    - linf: |d_i| = min(t, reach_i), l2: |d_i| = min(t |w_i|, reach_i). What they gain grows
      piecewise linearly in t; its corners are sorted and the right piece is solved.
    - l1: the features of largest |w_i| go all the way, and the last one as far as needed.
    - l0: likewise those of largest |w_i| reach_i, which is exact; the last one goes all the way too.

    Args:
        w: normals (N, ...).
        gap: (N,) what <w, d> has to be, of either sign.
        low: least change of each feature, of the shape of w.
        high: largest change of each feature.
        norm: which norm of d is least.
    """
    flat, want = w.flatten(1), gap.abs().unsqueeze(1)
    weight = flat.abs()
    # in units of the largest weight, as a power of two: squares of small slopes would underflow
    largest = weight.amax(1, keepdim=True).clamp(min=torch.finfo(w.dtype).tiny)
    scale = torch.ldexp(torch.ones_like(largest), -torch.frexp(largest).exponent)
    weight, want = weight * scale, want * scale
    way = flat.sign() * torch.where(gap < 0, -1.0, 1.0).to(flat.dtype).unsqueeze(1)
    reach = torch.where(way > 0, high.expand_as(w).flatten(1), -low.expand_as(w).flatten(1))
    # without bounds as far as sums of such numbers go, or infinity less infinity would be NaN
    reach = reach.clamp(max=_FAR).masked_fill(weight == 0, 0)
    sparse = norm in ("l1", "l0")
    moved = (_greedy if sparse else _level)(weight, reach, want, norm)
    return (way * moved).view_as(w)


def _level(weight: Tensor, reach: Tensor, want: Tensor, norm: _Norm) -> Tensor:
    """min(t * pace, reach) for the level t at which the weighted sum is `want`."""
    pace = weight if norm == "l2" else (weight > 0).to(weight.dtype)
    corner, order = (reach / pace.clamp(min=TINY)).sort(1)
    full = (weight * reach).gather(1, order).cumsum(1)  # gained by features that are at their end
    rise = (weight * pace).gather(1, order)
    later = rise.flip(1).cumsum(1).flip(1) - rise  # slope of those that are not
    piece = (full + corner * later < want).sum(1, keepdim=True)
    last = piece.clamp(max=weight.shape[1] - 1)
    before = full.gather(1, last) - (weight * reach).gather(1, order).gather(1, last)
    slope = (later + rise).gather(1, last)
    t = (want - before).clamp(min=0) / slope.clamp(min=TINY)
    t = t.masked_fill(piece >= weight.shape[1], torch.inf)
    return torch.minimum(torch.where(pace > 0, t * pace, 0), reach)


def _greedy(weight: Tensor, reach: Tensor, want: Tensor, norm: _Norm) -> Tensor:
    """All of the features that are worth most, until `want` is gained."""
    worth = weight if norm == "l1" else weight * reach
    order = worth.argsort(1, descending=True)
    full, price = reach.gather(1, order), weight.gather(1, order)
    gain = price * full
    missing = (want - (gain.cumsum(1) - gain)).clamp(min=0)  # before each feature's turn
    if norm == "l0":
        part = torch.where((missing > 0) & (price > 0), full, 0)
    else:
        part = torch.minimum(missing / price.clamp(min=TINY), full)
    return torch.zeros_like(part).scatter(1, order, part)
