"""What the physical world does to printed changes: printers, distance, light and lenses."""

import math
from dataclasses import dataclass
from itertools import product

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad

from holdfast.ops.transforms import affine

UNIT = 80 * math.sqrt(3) / 255
"""Distance of two colours that counts as one in the non-printability score; authors' code."""


def total_variation(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Sum over pixels of the length of the colour gradient (Sharif et al. 2016, sec. 4).

    TV = sum_ij ((x_ij - x_{i+1,j})^2 + (x_ij - x_{i,j+1})^2)^{1/2}

    Args:
        x: (N, C, H, W).
        mask: (H, W); only steps between two pixels inside of it count. None for all.

    Returns:
        (N,), summed over channels.
    """
    inside = torch.ones_like(x[0, 0]) if mask is None else (mask > 0).to(x)
    down = (x[:, :, 1:] - x[:, :, :-1]).square() * inside[1:] * inside[:-1]
    right = (x[..., 1:] - x[..., :-1]).square() * inside[:, 1:] * inside[:, :-1]
    both = pad(down, (0, 0, 0, 1)) + pad(right, (0, 1))
    # zero has no slope as a root; its length must stay zero
    length = torch.where(both > 0, both.clamp(min=1e-12).sqrt(), both)
    return length.flatten(1).sum(1)


def palette(levels: int, channels: int, low: float, high: float) -> Tensor:
    """(levels^channels, channels) colours, evenly spread from `low` to `high`."""
    each = torch.linspace(low, high, levels).tolist() if levels > 1 else [(low + high) / 2]
    return torch.tensor(list(product(each, repeat=channels)))


def non_printability(x: Tensor, colours: Tensor, mask: Tensor | None = None) -> Tensor:
    """Sum over pixels of the product of distances to all printable colours (ib.).

    It is zero where every pixel has a colour that the printer has.

    Args:
        x: (N, C, H, W) in [0, 1].
        colours: (P, C) that can be printed.
        mask: (H, W) pixels that count, None for all.

    Returns:
        (N,)
    """
    gap = x.unsqueeze(1) - colours.to(x).view(1, len(colours), -1, 1, 1)
    distance = (gap.square().sum(2) + 1e-12).sqrt() / UNIT
    score = distance.prod(1)
    return (score if mask is None else score * mask).flatten(1).sum(1)


def unprintable(x: Tensor, colours: Tensor, mask: Tensor | None = None) -> Tensor:
    """Sum over pixels of the distance to the nearest printable colour (Thys et al. 2019, sec. 3).

    Zero on the same images as the product above, which for 27 colours spans six orders of magnitude
    and so has no fixed worth beside another loss.
    """
    gap = x.unsqueeze(1) - colours.to(x).view(1, len(colours), -1, 1, 1)
    nearest = (gap.square().sum(2) + 1e-12).sqrt().amin(1)
    return (nearest if mask is None else nearest * mask).flatten(1).sum(1)


@dataclass(frozen=True)
class Views:
    """How much views of one scene differ: each draw is uniform up to these bounds, in both ways.

    Attributes:
        rotation: degrees.
        shift: share of the side.
        scale: share of the size.
        brightness: share of the pixel range.
        contrast: share of the distance from the mean.
        blur: largest standard deviation in pixels; drawn from zero on.
        noise: standard deviation of the sensor's noise, a share of the pixel range.
    """

    rotation: float = 8.0
    shift: float = 0.03
    scale: float = 0.08
    brightness: float = 0.1
    contrast: float = 0.15
    blur: float = 0.5
    noise: float = 0.02

    def times(self, strength: float) -> "Views":
        """The same kinds of change, all `strength` times as large."""
        return Views(*(strength * value for value in vars(self).values()))

    def see(self, x: Tensor, rng: Generator, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Every image in a view of its own, between `low` and `high`; differentiable.

        Where a pixel is cut off at the end of the range, its slope is kept: a sticker at full
        white would have none otherwise, and could never change again.
        """
        if not any(vars(self).values()):
            return x
        u = 2 * torch.rand(len(x), 7, generator=rng, device=x.device) - 1
        angle = u[:, 0] * math.radians(self.rotation)
        seen = affine(
            x, angle.to(x), self.shift * u[:, 1:3].to(x), 1 + self.scale * u[:, 3].to(x), "border"
        )
        light, contrast, width = (v.to(x).view(-1, 1, 1, 1) for v in u[:, 4:].unbind(1))
        mean = seen.mean((1, 2, 3), keepdim=True)
        seen = mean + (1 + self.contrast * contrast) * (seen - mean)
        seen = _blurred(seen + self.brightness * (high - low) * light, self.blur * (width + 1) / 2)
        noise = torch.randn(x.shape, generator=rng, device=x.device).to(x)
        seen = seen + self.noise * (high - low) * noise
        return seen + (seen.clamp(low, high) - seen).detach()


def _blurred(x: Tensor, sigma: Tensor) -> Tensor:
    """Three-tap Gaussian blur along both axes, `sigma` (N, 1, 1, 1) in pixels, edges repeated."""
    side = (-0.5 / sigma.clamp(min=0.05).square()).exp()
    middle = 1 / (1 + 2 * side)
    side = side * middle
    for before, after in (((0, 0, 1, 1), 2), ((1, 1, 0, 0), 3)):
        wide, length = pad(x, before, mode="replicate"), x.shape[after]
        ends = wide.narrow(after, 0, length) + wide.narrow(after, 2, length)
        x = middle * x + side * ends
    return x
