"""Square windows of images (N, C, H, W), one per row: where they lie and what is put into them."""

from functools import cache

import torch
from torch import Generator, Tensor

from holdfast.ops import balls

FALL = {"l2": 2, "l1": 4}
"""How fast the mass of a window falls from its centre (Andriushchenko et al. 2020, app. A; code)."""
SHARES = ((10, 1), (50, 2), (200, 4), (500, 8), (1000, 16), (2000, 32), (4000, 64), (6000, 128),
          (8000, 256))  # fmt: skip
"""Up to which of 10,000 steps the share of changed pixels is divided by what (sec. 3.4; code)."""


def share(first: float, step: int, steps: int) -> float:
    """Share of the pixels that step number `step` of `steps` changes: halved at fixed moments."""
    moment = int(step / steps * 10_000)
    return first / next((divisor for last, divisor in SHARES if moment <= last), 512)


def images(x: Tensor) -> Tensor:
    """Inputs of any shape as (N, C, H, W): features are a line, further axes count as channels."""
    if x.ndim >= 4:
        return x.flatten(1, -3)
    return x.unsqueeze(2) if x.ndim == 3 else x.unsqueeze(1).unsqueeze(1)


def side(pixels: float, height: int, width: int, least: int = 1) -> tuple[int, int]:
    """Height and width of a square of about `pixels` pixels; on a line, of a stretch of it."""
    length = max(round(pixels if height == 1 else pixels**0.5), least)
    length += least > 1 and length % 2 == 0  # sizes that start at three stay odd
    if height == 1:
        return 1, min(length, width)
    return (min(length, height, width),) * 2


def corners(
    count: int, window: tuple[int, int], height: int, width: int, rng: Generator
) -> tuple[Tensor, Tensor]:
    """Top and left end of `count` windows, uniform over all places where one fits."""
    top, left = (
        torch.randint(size - part + 1, (count,), generator=rng, device=rng.device)
        for size, part in ((height, window[0]), (width, window[1]))
    )
    return top, left


def visited(
    walk: Tensor, numbers: range, window: tuple[int, int], height: int, width: int
) -> Tensor:
    """(N, K, h w) pixels of the windows number `numbers` of each row, counted along rows of pixels.

    A row walks over all places in strides of its own that have no divisor in common with their
    number, so that it comes to each of them once before any comes again.

    Args:
        walk: (N, 2) numbers in [0, 1) that say where each row starts, and its stride.
        numbers: K consecutive ones.
        window: height and width of the windows.
        height: of the images.
        width: of the images.
    """
    across = width - window[1] + 1
    places = (height - window[0] + 1) * across
    strides = _strides(places).to(walk.device)
    start = (walk[:, :1] * places).long()
    stride = strides[(walk[:, 1:] * len(strides)).long()]
    number = torch.arange(numbers.start, numbers.stop, device=walk.device)
    place = ((start + number * stride) % places).unsqueeze(2)
    row = torch.arange(window[0], device=walk.device).view(-1, 1) * width
    inside = (row + torch.arange(window[1], device=walk.device)).flatten()
    return place // across * width + place % across + inside


@cache
def _strides(places: int) -> Tensor:
    """Numbers up to `places` that have no divisor in common with it."""
    every = torch.arange(1, places + 1)
    return every[torch.gcd(every, torch.tensor(places)) == 1]


def mask(top: Tensor, left: Tensor, window: tuple[int, int], like: Tensor) -> Tensor:
    """(N, 1, H, W) Boolean: the pixels of each row's window."""
    height, width = like.shape[-2:]
    row = torch.arange(height, device=like.device).view(1, 1, -1, 1) - top.view(-1, 1, 1, 1)
    column = torch.arange(width, device=like.device).view(1, 1, 1, -1) - left.view(-1, 1, 1, 1)
    return (row >= 0) & (row < window[0]) & (column >= 0) & (column < window[1])


def bits(shape: tuple[int, ...], rng: Generator) -> Tensor:
    """True or false with equal chance."""
    return torch.randint(2, shape, generator=rng, device=rng.device, dtype=torch.bool)


def signs(shape: tuple[int, ...], rng: Generator) -> Tensor:
    """Minus one or one with equal chance."""
    return bits(shape, rng) * 2.0 - 1


def bump(height: int, width: int, power: int) -> Tensor:
    """(height, width): nested rectangles around the centre, the k-th from inside adding k^-power."""
    out = torch.zeros(height, width)
    top, left = height // 2, width // 2
    for k in range(max(top, left) + 1):
        rows = slice(max(top - k, 0), min(top + k + 1, height))
        columns = slice(max(left - k, 0), min(left + k + 1, width))
        out[rows, columns] += (k + 1.0) ** -power
    return out


def halves(window: tuple[int, int], norm: balls.Norm, across: bool) -> Tensor:
    """(h, w) of norm one: a bump above minus a bump below, or left minus right of it (eq. 2)."""
    h, w = window
    if h == 1 or (across and h == w):
        return halves((w, h), norm, False).T if w > 1 else -torch.ones(1, 1)
    parts = [(bump(rows, w, FALL[norm]), sign) for rows, sign in ((h // 2, 1), (h - h // 2, -1))]
    unit = [s * b / balls.size(b.unsqueeze(0), norm) for b, s in parts if b.numel()]
    both = torch.cat(unit)
    return both / balls.size(both.unsqueeze(0), norm)


def tiles(like: Tensor, norm: balls.Norm, rng: Generator) -> Tensor:
    """About five by five windows side by side over each image, signs by row, tile and channel."""
    n, channels, height, width = like.shape
    out = torch.zeros_like(like)
    h, w = max(height // 5, 1), max(width // 5, 1)
    h, w = (1, w) if height == 1 else (min(h, w),) * 2
    first = [max(0, (size - 5 * part) // 2) for size, part in ((height, h), (width, w))]
    for top in range(first[0], height - h + 1, h):
        for left in range(first[1], width - w + 1, w):
            turned = bool(torch.randint(2, (), generator=rng, device=rng.device))
            sign = signs((n, channels, 1, 1), rng)
            out[:, :, top : top + h, left : left + w] = halves((h, w), norm, turned).to(like) * sign
    return out


def moved(
    delta: Tensor, eps: Tensor, window: tuple[int, int], norm: balls.Norm, rng: Generator
) -> Tensor:
    """Mass moved from one random window to another of each row (alg. 3; L1 as in the code).

    The second window is emptied; the first one gets a new shape, its old one plus random halves,
    with the mass of both and what is missing to `eps` (N,). With one channel the norm of the whole
    is then `eps`, where it was at most that; with more the caller scales it back.
    """
    n, channels, height, width = delta.shape
    top, left = corners(n, window, height, width, rng)
    here = mask(top, left, window, delta)
    there = mask(*corners(n, window, height, width, rng), window, delta)
    power = 2 if norm == "l2" else 1

    def mass(part: Tensor) -> Tensor:
        return part.abs().pow(power).sum((-2, -1), keepdim=True)

    turned = bool(torch.randint(2, (), generator=rng, device=rng.device))
    row = torch.arange(n, device=delta.device).view(-1, 1, 1)
    down = top.view(-1, 1, 1) + torch.arange(window[0], device=delta.device).view(1, -1, 1)
    over = left.view(-1, 1, 1) + torch.arange(window[1], device=delta.device).view(1, 1, -1)
    old = delta[row, :, down, over].permute(0, 3, 1, 2)  # (N, C, h, w)
    shape = halves(window, norm, turned).to(delta) * signs((n, channels, 1, 1), rng)
    shape = shape + old / mass(old).pow(1 / power).clamp(min=balls.TINY)
    shape = shape / mass(shape).pow(1 / power).clamp(min=balls.TINY)
    missing = (balls.rows(eps, delta) ** power - mass(delta).sum(1, keepdim=True)).clamp(min=0)
    both = mass(delta * (here | there))
    if norm == "l2":
        new = shape * (missing / channels + both.sum(1, keepdim=True)).sqrt()
    else:
        new = shape * (missing / channels + both) * channels
    out = delta.masked_fill(there, 0)
    out[row, :, down, over] = new.permute(0, 2, 3, 1)
    return out
