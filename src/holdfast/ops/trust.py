"""The best step along a hyperplane within a trust region and a box, all rows at once."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from holdfast.ops import balls
from holdfast.ops.hyperplanes import step_to

LEVELS = 12
"""Halvings of the trade-off between a small change and a short step."""
NEWTON = 20
"""Safeguarded Newton steps for the multiplier of the hyperplane, begun at the last one."""


def along(
    delta: Tensor, w: Tensor, gap: Tensor, room: tuple[Tensor, Tensor], radius: Tensor,
    norm: balls.Norm,
) -> Tensor:  # fmt: skip
    """argmin_z |z|_p with <w, z - delta> = gap, |z - delta|_2 <= radius and room[0] <= z <= room[1].

    Brendel et al. 2019, eq. 2. For a multiplier nu of the hyperplane and a trade-off level the
    minimiser is known feature by feature, before it is clipped to the room:

    - l2: s delta + nu w;  linf: delta + nu w, clipped to +-t;
    - l1: the soft and l0: the hard threshold of delta + nu w.

    <w, z> grows with nu, which Newton's method finds; the level is halved to the smallest norm
    whose step fits the radius. For l0, which is not convex, this is a local answer. Where the
    hyperplane is out of reach, the step of full radius that comes nearest to it.

    Args:
        delta: (N, ...) change so far, within the room.
        w: (N, ...) normals.
        gap: (N,) wanted <w, z - delta>.
        room: least and largest change of every feature.
        radius: (N,) Euclidean length that a step may have.
        norm: of the change that is to be small.
    """
    flat, way, low, high = (v.flatten(1) for v in (delta, w, *room))
    way = way / balls.size(way, "l2").clamp(min=balls.TINY).unsqueeze(1)
    gap = gap / balls.size(w, "l2").clamp(min=balls.TINY)
    want = gap + (way * flat).sum(1)
    close = flat + step_to(way, gap, low - flat, high - flat, "l2")
    need = balls.size(close - flat, "l2")
    met = ((way * close).sum(1) - want).abs() <= 1e-5 * (1 + want.abs())
    inside = met & (need <= radius)
    least = step_to(way, want, low, high, norm)  # without regard to the radius
    if norm == "l0":  # its last feature goes beyond
        least = _onto(least, way, want, low, high, norm)
    ends = (balls.size(close, norm), balls.size(least, norm))
    best, nu = close, torch.zeros_like(want)
    a, b = torch.zeros_like(want), torch.ones_like(want)
    for _ in range(LEVELS if norm != "l0" else LEVELS // 2):
        level = (a + b) / 2
        shape = partial(_shape, flat, way, (low, high), level, ends, norm)
        nu = _multiplier(shape, way, want, nu, ~inside, NEWTON if norm != "l0" else NEWTON // 4)
        z = shape(nu)[0]
        if norm == "l0":  # jumps over the hyperplane
            z = _onto(z, way, want, low, high, norm)
        held = ((way * z).sum(1) - want).abs() <= 1e-4 * (1e-2 + want.abs())
        fits = held & (balls.size(z - flat, "l2") <= radius)
        better = fits & (balls.size(z, norm) <= balls.size(best, norm))
        best = torch.where(better.unsqueeze(1), z, best)
        a, b = torch.where(fits, level, a), torch.where(fits, b, level)
    best = _onto(best, way, want, low, high, norm)
    best = torch.where((balls.size(least - flat, "l2") <= radius).unsqueeze(1), least, best)
    towards = _farthest(flat, way * gap.sign().unsqueeze(1), low, high, radius, close)
    return torch.where(inside.unsqueeze(1), best, towards).view_as(delta)


def _shape(
    flat: Tensor, way: Tensor, room: tuple[Tensor, Tensor], level: Tensor,
    ends: tuple[Tensor, Tensor], norm: balls.Norm, nu: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The minimiser at a multiplier and a level from zero (a short step) to one (a small change).

    Also the features that still move with the multiplier.
    """
    low, high = room
    at = level.unsqueeze(1)
    moved = nu.unsqueeze(1) * way
    if norm == "l2":
        z = (1 - at) * flat + moved
    elif norm == "linf":
        bound = ((1 - level) * ends[0] + level * ends[1]).unsqueeze(1)
        low, high = torch.maximum(low, -bound), torch.minimum(high, bound)
        z = flat + moved
    else:
        biggest = balls.size(flat, "linf").unsqueeze(1)
        bound = biggest * at / (1 - at).clamp(min=1e-6)
        z = flat + moved
        if norm == "l1":
            z = z.sign() * (z.abs() - bound).clamp(min=0)
        else:
            z = torch.where(z.abs() > bound, z, torch.zeros_like(z))
    clipped = torch.minimum(torch.maximum(z, low), high)
    return clipped, (clipped == z) & ((z != 0) | (norm in ("l2", "linf")))


def _multiplier(
    shape: Callable[[Tensor], tuple[Tensor, Tensor]], way: Tensor, want: Tensor, nu: Tensor,
    idle: Tensor, steps: int,
) -> Tensor:  # fmt: skip
    """The nu with <way, z(nu)> = want; nobody asks for that of `idle` rows."""
    low, high = torch.full_like(nu, -torch.inf), torch.full_like(nu, torch.inf)
    reach = 1.0
    for _ in range(steps):
        z, free = shape(nu)
        miss = (way * z).sum(1) - want
        low, high = torch.where(miss <= 0, nu, low), torch.where(miss >= 0, nu, high)
        done = idle | (miss.abs() <= 3e-5 * (1e-2 + want.abs()))
        if bool(done.all()):
            break  # one look at the host saves many passes over all features
        slope = (way.square() * free).sum(1)
        new = nu - miss / slope.clamp(min=1e-6)
        middle = torch.where(
            low.isinf(), high - reach, torch.where(high.isinf(), low + reach, (low + high) / 2)
        )
        good = (new > low) & (new < high) & (slope > 1e-6)
        nu, reach = torch.where(good, new, middle), 4 * reach
    return nu


def _onto(
    z: Tensor, way: Tensor, want: Tensor, low: Tensor, high: Tensor, norm: balls.Norm
) -> Tensor:
    """Exactly onto the hyperplane, for l1 and l0 first by features that are changed already."""
    if norm in ("l1", "l0"):
        kept = way * (z != 0)
        z = z + step_to(kept, want - (way * z).sum(1), low - z, high - z, "l2")
        rest = want - (way * z).sum(1)  # no further feature for the sake of rounding
        rest = torch.where(rest.abs() > 1e-5 * (1e-3 + want.abs()), rest, 0)
        return z + step_to(way, rest, low - z, high - z, "l1")
    if norm == "linf":
        bound = balls.size(z, "linf").unsqueeze(1)
        low, high = torch.maximum(low, -bound), torch.minimum(high, bound)
    return z + step_to(way, want - (way * z).sum(1), low - z, high - z, "l2")


def _farthest(
    flat: Tensor, way: Tensor, low: Tensor, high: Tensor, radius: Tensor, close: Tensor
) -> Tensor:
    """The step of length `radius` that gains most: clip(delta + nu w) for the largest nu that fits."""
    a, b = torch.zeros_like(radius), radius * 1e4
    for _ in range(3 * LEVELS):
        nu = (a + b) / 2
        z = torch.minimum(torch.maximum(flat + nu.unsqueeze(1) * way, low), high)
        fits = balls.size(z - flat, "l2") <= radius
        a, b = torch.where(fits, nu, a), torch.where(fits, b, nu)
    z = torch.minimum(torch.maximum(flat + a.unsqueeze(1) * way, low), high)
    return torch.where((balls.size(close - flat, "l2") <= radius).unsqueeze(1), close, z)
