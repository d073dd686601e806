"""Lp geometry on batches: pure functions of tensors. Every `eps` is a number or one number per row."""

import math
from typing import Literal

import torch
from torch import Generator, Tensor

Norm = Literal["linf", "l2", "l1", "l0"]
TINY = 1e-12
DUAL: dict[str, Norm] = {"linf": "l1", "l2": "l2", "l1": "linf"}
"""The norm in which a gradient is measured where steps are measured in another one."""


def rows(v: Tensor | float, like: Tensor) -> Tensor:
    """View a number or an (N,) vector so that it broadcasts over `like` (N, ...)."""
    vector = torch.as_tensor(v, dtype=like.dtype, device=like.device)
    shape = (-1, *[1] * (like.ndim - 1)) if vector.ndim else ()
    return vector.view(shape)


def size(d: Tensor, norm: Norm) -> Tensor:
    """Norm of every row of `d`: (N, ...) -> (N,)."""
    flat = d.flatten(1)
    if norm == "linf":
        return flat.abs().amax(1) if flat.shape[1] else flat.sum(1)
    if norm == "l2":
        return flat.square().sum(1).sqrt()
    if norm == "l1":
        return flat.abs().sum(1)
    return (flat != 0).sum(1).to(d.dtype)


def project(d: Tensor, norm: Norm, eps: Tensor | float) -> Tensor:
    """Nearest point (Euclidean distance) of the ball of radius `eps` around zero, per row."""
    if norm == "linf" and not isinstance(eps, Tensor):
        return d.clamp(-eps, eps)
    bound = rows(eps, d)
    if norm == "linf":
        return torch.clamp(d, -bound, bound)
    if norm == "l2":
        return d * (bound / rows(size(d, "l2"), d).clamp(min=TINY)).clamp(max=1)
    if norm == "l1":
        return _project_l1(d, bound.flatten())
    return _keep_largest(d, bound.flatten())


def _project_l1(d: Tensor, eps: Tensor) -> Tensor:
    """Soft threshold whose level solves sum max(|d| - level, 0) = eps (Duchi et al. 2008, fig. 1)."""
    flat = d.flatten(1)
    magnitude = flat.abs().sort(dim=1, descending=True).values
    index = torch.arange(1, flat.shape[1] + 1, device=d.device, dtype=d.dtype)
    level = (magnitude.cumsum(1) - eps.view(-1, 1)) / index
    last = ((magnitude > level) * index).amax(1, keepdim=True).long().clamp(min=1) - 1
    theta = level.gather(1, last).clamp(min=0)
    return (flat.sign() * (flat.abs() - theta).clamp(min=0)).view_as(d)


def project_l1_box(d: Tensor, low: Tensor, high: Tensor, eps: Tensor | float) -> Tensor:
    """Nearest point of the L1 ball that also lies in [low, high], where low <= 0 <= high.

    It is clip(soft_threshold(d, level), low, high) with the least level whose result fits
    (Croce & Hein 2021, prop. 2.1), found by bisection to double-precision width. Clipping after
    an ordinary projection would leave the point well inside the ball and weaken every L1 attack.
    """
    bound = rows(eps, d)
    flat, lower, upper = d.flatten(1), low.expand_as(d).flatten(1), high.expand_as(d).flatten(1)

    def shrunk(level: Tensor) -> Tensor:
        soft = flat.sign() * (flat.abs() - level).clamp(min=0)
        return torch.minimum(torch.maximum(soft, lower), upper)

    limit = bound.flatten().expand(len(d)).unsqueeze(1)
    a, b = flat.new_zeros(len(d), 1), flat.abs().amax(1, keepdim=True)
    for _ in range(40):
        middle = (a + b) / 2
        inside = shrunk(middle).abs().sum(1, keepdim=True) <= limit
        a, b = torch.where(inside, a, middle), torch.where(inside, middle, b)
    fits = shrunk(torch.zeros_like(b)).abs().sum(1, keepdim=True) <= limit
    return shrunk(torch.where(fits, torch.zeros_like(b), b)).view_as(d)


def project_l0_box(d: Tensor, low: Tensor, high: Tensor, eps: Tensor | float) -> Tensor:
    """Nearest point with at most floor(eps) non-zero entries in [low, high], low <= 0 <= high.

    Setting entry d to its nearest valid value c instead of zero saves d^2 - (d - c)^2 = c (2d - c);
    those that save most are kept (Croce & Hein 2019, sec. 3.1). Keeping the largest d and clipping
    after that would waste entries that have no room to move.
    """
    near = torch.minimum(torch.maximum(d, low), high)
    saved = (near * (2 * d - near)).flatten(1)
    rank = saved.argsort(dim=1, descending=True).argsort(dim=1)
    kept = rank < rows(eps, saved).floor()
    return torch.where(kept.view_as(near), near, torch.zeros_like(near))


def _keep_largest(d: Tensor, eps: Tensor) -> Tensor:
    """Keep the floor(eps) largest entries of every row and set the others to zero."""
    flat = d.flatten(1)
    rank = flat.abs().argsort(dim=1, descending=True).argsort(dim=1)
    return torch.where(rank < eps.floor().view(-1, 1), flat, torch.zeros_like(flat)).view_as(d)


def steepest(g: Tensor, norm: Norm, share: float = 0.01) -> Tensor:
    """Unit-size direction along which a linear function with gradient `g` grows fastest.

    For l1 the exact maximiser moves one coordinate; the best `share` of them are moved together,
    which needs far fewer steps (Tramer & Boneh 2019, sec. 3.3, "SLIDE"). For l0 likewise, with
    every chosen coordinate moved by one.
    """
    if norm == "linf":
        return g.sign()
    if norm == "l2":
        # by the largest entry first: a confident model's gradients are far below 1e-12
        g = g / rows(size(g, "linf"), g).clamp(min=torch.finfo(g.dtype).tiny)
        return g / rows(size(g, "l2"), g).clamp(min=TINY)
    flat = g.flatten(1)
    count = max(1, math.ceil(share * flat.shape[1]))
    chosen = flat.abs().argsort(dim=1, descending=True)[:, :count]
    step = torch.zeros_like(flat).scatter(1, chosen, flat.gather(1, chosen).sign())
    return (step if norm == "l0" else step / count).view_as(g)


def sample(like: Tensor, norm: Norm, eps: Tensor | float, rng: Generator) -> Tensor:
    """Uniform draw from the ball of radius `eps`, per row (l0: signs on random coordinates).

    The L2 and L1 draws take a direction from the normal or Laplace law and a radius u^(1/D)
    (Barthe et al. 2005), so that the ball is filled evenly instead of only its centre or its shell.
    """
    bound, dims = rows(eps, like), max(1, like[0].numel() if len(like) else 1)
    uniform = torch.empty_like(like).uniform_(0, 1, generator=rng)
    if norm == "linf":
        return (2 * uniform - 1) * bound
    radius = torch.empty(len(like), dtype=like.dtype, device=like.device)
    radius = radius.uniform_(0, 1, generator=rng) ** (1 / dims)
    if norm == "l2":
        normal = torch.empty_like(like).normal_(generator=rng)
        return steepest(normal, "l2") * rows(radius, like) * bound
    signs = torch.where(torch.empty_like(like).uniform_(0, 1, generator=rng) < 0.5, -1.0, 1.0)
    if norm == "l1":
        laplace = -uniform.clamp(min=TINY).log() * signs
        return (
            laplace / rows(size(laplace, "l1"), like).clamp(min=TINY) * rows(radius, like) * bound
        )
    return (
        _keep_largest(uniform, bound.expand(len(like), *[1] * (like.ndim - 1)).flatten()).sign()
        * signs
    )
