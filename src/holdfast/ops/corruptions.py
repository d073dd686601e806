"""Everyday corruptions of images: light, position, blur, sensor noise and weather.

Images are (N, C, H, W) in [0, 1] with H, W >= 8. Corruptions are those of Hendrycks & Dietterich
2019 with the constants of CIFAR-10-C, which are meant for 32 x 32 pixels; where a constant is a
length, it grows with the shorter side above 32 pixels and stays as it is below. ImageNet-C (224
pixels) uses up to four times stronger noise and six times wider blurs, so levels of different
image sizes are comparable in kind, not in number. Deviations: brightness adds to every channel
instead of HSV's value; motion blur is symmetric; fog is smooth noise of several octaves instead of
diamond-square noise. Rotation and translation are not in those sets, their levels are ours.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, conv2d, grid_sample, interpolate, pad

Level = tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Draws:
    """Random numbers that depend on seed, key and row index alone, never on the batch.

    Attributes:
        seed: root of the stream.
        rows: (N,) index of each image in its data set.
        key: what the numbers are for.
    """

    seed: int
    rows: Tensor
    key: str

    def uniform(self, *shape: int, use: str = "uniform") -> Tensor:
        """(N, *shape) in [0, 1); `use` tells two streams of one corruption apart."""
        out = torch.empty(len(self.rows), *shape)
        for one, rng in zip(out, self._streams(use), strict=True):
            one.uniform_(generator=rng)
        return out

    def normal(self, *shape: int, use: str = "normal") -> Tensor:
        """(N, *shape) standard normal."""
        out = torch.empty(len(self.rows), *shape)
        for one, rng in zip(out, self._streams(use), strict=True):
            one.normal_(generator=rng)
        return out

    def _streams(self, use: str) -> list[Generator]:
        told = [repr((self.seed, self.key, use, row)).encode() for row in self.rows.tolist()]
        seeds = [int.from_bytes(hashlib.sha256(each).digest()[:7], "big") for each in told]
        return [Generator().manual_seed(seed) for seed in seeds]


def brightness(x: Tensor, level: Level, draws: Draws) -> Tensor:
    """Add `level` to every pixel."""
    return x + level[0]


def contrast(x: Tensor, level: Level, draws: Draws) -> Tensor:
    """Shrink the distance from each channel's mean to the share `level`."""
    mean = x.mean((2, 3), keepdim=True)
    return mean + level[0] * (x - mean)


def rotate(x: Tensor, level: Level, draws: Draws) -> Tensor:
    """Turn by `level` degrees, clockwise or not by chance; edges are repeated outwards."""
    way = (draws.uniform(1).flatten() < 0.5).to(x) * 2 - 1
    return turn(x, way * math.radians(level[0]))


def turn(x: Tensor, angle: Tensor) -> Tensor:
    """Each image turned counter-clockwise by its angle (N,), in radians, about its centre."""
    height, width = x.shape[2:]
    c, s, o = angle.cos(), angle.sin(), torch.zeros_like(angle)
    rows = [torch.stack([c, -s * height / width, o], 1), torch.stack([s * width / height, c, o], 1)]
    return _sample(x, torch.stack(rows, 1))


def translate(x: Tensor, level: Level, draws: Draws) -> Tensor:
    """Move by the share `level` of the shorter side, in whole pixels, one of four ways by chance."""
    step = max(1, round(level[0] * min(x.shape[2:])))
    way = (draws.uniform(1).flatten() * 4).long()
    return shift(
        x, step * torch.tensor([0, 0, 1, -1])[way], step * torch.tensor([1, -1, 0, 0])[way]
    )


def shift(x: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Each image moved by whole pixels (N,), with its edges repeated."""
    count, channels, height, width = x.shape
    y = (torch.arange(height) - down.view(-1, 1)).clamp(0, height - 1).to(x.device)
    z = (torch.arange(width) - right.view(-1, 1)).clamp(0, width - 1).to(x.device)
    row = torch.arange(count, device=x.device).view(-1, 1, 1, 1)
    channel = torch.arange(channels, device=x.device).view(1, -1, 1, 1)
    return x[row, channel, y[:, None, :, None], z[:, None, None, :]]


def gaussian_blur(x: Tensor, level: Level, draws: Draws) -> Tensor:
    """Convolve with a normal density of standard deviation `level` pixels."""
    sigma = level[0] * _enlarged(x)
    reach = math.ceil(3 * sigma)
    taps = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    kernel = (-taps.square() / (2 * sigma**2)).exp()
    kernel = kernel / kernel.sum()
    flat = pad(x.flatten(0, 1)[:, None], (reach,) * 4, mode="replicate")
    return conv2d(conv2d(flat, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1)).view_as(x)


def motion_blur(x: Tensor, level: Level, draws: Draws) -> Tensor:
    """Smear along a line within 45 degrees of level; `level` is reach and deviation in pixels."""
    angle = (draws.uniform(1).flatten() - 0.5) * math.pi / 2
    return smear(x, angle, level[0] * _enlarged(x), level[1] * _enlarged(x))


def smear(x: Tensor, angle: Tensor, reach: float, sigma: float) -> Tensor:
    """Weighted mean of copies moved along a line: normal weights, at most `reach` pixels away."""
    height, width = x.shape[2:]
    taps = torch.arange(-math.floor(reach), math.floor(reach) + 1)
    weights = (-taps.square() / (2 * sigma**2)).exp()
    one, zero = torch.ones_like(angle), torch.zeros_like(angle)
    out = torch.zeros_like(x)
    for tap, weight in zip(taps.tolist(), (weights / weights.sum()).tolist(), strict=True):
        across, down = 2 * tap * angle.cos() / width, -2 * tap * angle.sin() / height
        rows = [torch.stack([one, zero, across], 1), torch.stack([zero, one, down], 1)]
        out += weight * _sample(x, torch.stack(rows, 1))
    return out


def gaussian_noise(x: Tensor, level: Level, draws: Draws) -> Tensor:
    """Add normal noise of standard deviation `level`."""
    return x + level[0] * draws.normal(*x.shape[1:]).to(x)


def impulse_noise(x: Tensor, level: Level, draws: Draws) -> Tensor:
    """Set the share `level` of all values to black or white, half each."""
    u = draws.uniform(*x.shape[1:]).to(x)
    return torch.where(u < level[0], (u < level[0] / 2).to(x), x)


def fog(x: Tensor, level: Level, draws: Draws) -> Tensor:
    """Add smooth noise of strength level[0], then scale back to the image's own maximum.

    Octave k of the noise is a grid of 2^k + 1 uniform numbers a side, weighted level[1]^-k.
    """
    strength, decay = level
    side = max(x.shape[2:])
    haze = torch.zeros(len(x), 1, *x.shape[2:])
    for k in range(1, math.ceil(math.log2(side)) + 1):
        grid = draws.uniform(1, 2**k + 1, 2**k + 1, use=f"octave {k}")
        smooth = interpolate(grid, x.shape[2:], mode="bilinear", align_corners=True)
        haze += smooth * decay**-k
    low, high = haze.amin((1, 2, 3), keepdim=True), haze.amax((1, 2, 3), keepdim=True)
    brightest = x.amax((1, 2, 3), keepdim=True)
    fogged = x + strength * ((haze - low) / (high - low)).to(x)
    return fogged * brightest / (brightest + strength)


def snow(x: Tensor, level: Level, draws: Draws) -> Tensor:
    """Whiten the image and let smeared flakes fall across it.

    `level` is mean and deviation of a layer of normal noise, its zoom, the threshold above which
    a pixel is a flake, reach and deviation of the smear, and how much of the image is kept.
    """
    mean, deviation, zoom, threshold, reach, sigma, kept = level
    layer = (mean + deviation * draws.normal(1, *x.shape[2:])).to(x)
    scale = 1 / (zoom * _enlarged(x))
    theta = torch.tensor([[scale, 0.0, 0.0], [0.0, scale, 0.0]], dtype=x.dtype, device=x.device)
    layer = _sample(layer, theta.expand(len(x), 2, 3))
    layer = layer.masked_fill(layer < threshold, 0).clamp(0, 1)
    angle = -math.pi * (0.25 + 0.5 * draws.uniform(1, use="angle").flatten()).to(x)
    layer = smear(layer, angle, reach * _enlarged(x), sigma * _enlarged(x))
    grey = x.mean(1, keepdim=True)
    white = kept * x + (1 - kept) * torch.maximum(x, 1.5 * grey + 0.5)
    return white + layer + layer.flip(2, 3)


def _sample(x: Tensor, theta: Tensor) -> Tensor:
    """Bilinear values at affinely moved positions; outside of the image its edge is repeated."""
    grid = affine_grid(theta.to(x), list(x.shape), align_corners=False)
    return grid_sample(x, grid, padding_mode="border", align_corners=False)


def _enlarged(x: Tensor) -> float:
    """By how much lengths grow: the constants are meant for 32 pixels."""
    return max(1.0, min(x.shape[2:]) / 32)


@dataclass(frozen=True)
class Corruption:
    """One corruption at five levels of severity.

    Attributes:
        apply: (images, level, draws) -> images, not yet clamped.
        levels: what severities 1 to 5 mean.
        source: where the levels are from.
    """

    apply: Callable[[Tensor, Level, Draws], Tensor]
    levels: tuple[Level, Level, Level, Level, Level]
    source: str


CIFAR_C = "CIFAR-10-C, Hendrycks & Dietterich 2019"
CORRUPTIONS: Mapping[str, Corruption] = {
    "brightness": Corruption(brightness, ((0.05,), (0.1,), (0.15,), (0.2,), (0.3,)), CIFAR_C),
    "contrast": Corruption(contrast, ((0.75,), (0.5,), (0.4,), (0.3,), (0.15,)), CIFAR_C),
    "rotate": Corruption(
        rotate, ((10,), (20,), (30,), (40,), (50,)),
        "ours: equal steps; half of an MNIST network's answers are lost at 45 degrees",
    ),
    "translate": Corruption(
        translate, ((0.05,), (0.1,), (0.15,), (0.2,), (0.25,)),
        "ours: equal steps up to a quarter of the side, at least one pixel",
    ),
    "gaussian_blur": Corruption(gaussian_blur, ((0.4,), (0.6,), (0.7,), (0.8,), (1.0,)), CIFAR_C),
    "motion_blur": Corruption(motion_blur, ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)), CIFAR_C),
    "gaussian_noise": Corruption(
        gaussian_noise, ((0.04,), (0.06,), (0.08,), (0.09,), (0.1,)), CIFAR_C
    ),
    "impulse_noise": Corruption(
        impulse_noise, ((0.01,), (0.02,), (0.03,), (0.05,), (0.07,)), CIFAR_C
    ),
    "fog": Corruption(fog, ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)), CIFAR_C),
    "snow": Corruption(
        snow,
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        CIFAR_C,
    ),
}  # fmt: skip
"""Every corruption by name."""

PROPERTIES: Mapping[str, tuple[str, ...]] = {
    "light": ("brightness", "contrast"),
    "spatial": ("rotate", "translate"),
    "blur": ("gaussian_blur", "motion_blur"),
    "noise": ("gaussian_noise", "impulse_noise"),
    "weather": ("fog", "snow"),
}
"""Five things that happen to a camera, and the corruptions that stand for each."""


def corrupt(name: str, x: Tensor, severity: int, rows: Tensor, seed: int) -> Tensor:
    """Images with one corruption, rounded to 8 bits as an image file is.

    Args:
        name: key of `CORRUPTIONS`.
        x: (N, C, H, W) in [0, 1].
        severity: 1 to 5; 0 gives `x` itself.
        rows: (N,) index of each image in its data set, on which its random numbers depend.
        seed: root of the random numbers.
    """
    if severity == 0 or not len(x):
        return x
    one = CORRUPTIONS[name]
    out = one.apply(x, one.levels[severity - 1], Draws(seed, rows, f"{name}={severity}"))
    return (out.clamp(0, 1) * 255).round() / 255
