"""Proximal operators: prox(d) = argmin_z |z - d|_2^2 / 2 + weight |z|_p, row by row."""

import torch
from torch import Tensor

from holdfast.ops import balls


def prox(d: Tensor, norm: balls.Norm, weight: Tensor) -> Tensor:
    """Proximal operator of `weight` (N,) times a norm, or times the number of non-zero features.

    - l1: soft threshold; l0: hard threshold at sqrt(2 weight).
    - l2: the row shrinks by `weight`.
    - linf: by Moreau's identity, what is left of the projection onto the L1 ball of that radius.
    """
    level = balls.rows(weight, d)
    if norm == "l1":
        return d.sign() * (d.abs() - level).clamp(min=0)
    if norm == "l0":
        return torch.where(d.square() > 2 * level, d, torch.zeros_like(d))
    if norm == "l2":
        size = balls.rows(balls.size(d, "l2"), d)
        return d * (1 - level / size.clamp(min=balls.TINY)).clamp(min=0)
    return d - balls.project(d, "l1", weight)


def prox_two_thirds(d: Tensor, weight: Tensor) -> Tensor:
    """Proximal operator of `weight` sum |z_i|^(2/3), a stand-in for the count of features.

    In closed form (Cao et al. 2013, sec. 2.2): a root of a quartic where |d| is above
    2 (2 weight / 3)^(3/4), zero below, where standing still costs less.
    """
    level, size = balls.rows(weight, d).clamp(min=balls.TINY), d.abs()
    above = size > 2 * (2 * level / 3) ** 0.75
    root = (size.pow(4) / 256 - 8 * level**3 / 729).clamp(min=0).sqrt()
    half = size.square() / 16
    a = 2 * ((half + root).pow(1 / 3) + (half - root).clamp(min=0).pow(1 / 3))
    side = a.clamp(min=balls.TINY).sqrt()
    z = ((side + (2 * size / side - a).clamp(min=0).sqrt()) / 2).pow(3)
    return d.sign() * torch.where(above, z, torch.zeros_like(z))
