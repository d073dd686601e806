"""Changes that know nothing of a model, raised until its answer changes: what attacks must beat."""

from collections.abc import Callable

import torch
from torch import Tensor

from holdfast.ops.balls import rows
from holdfast.ops.rows import put

Change = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x (N, C, H, W) in [0, 1], strength (N,) in [0, 1], uniform numbers like x) -> changed images."""


def uniform_noise(x: Tensor, strength: Tensor, pattern: Tensor) -> Tensor:
    """Add noise between -strength and strength."""
    return (x + rows(strength, x) * (2 * pattern - 1)).clamp(0, 1)


def salt_and_pepper(x: Tensor, strength: Tensor, pattern: Tensor) -> Tensor:
    """Set the share `strength` of all values to 0 or 1, half each."""
    half = rows(strength / 2, x)
    return x.masked_fill(pattern < half, 0).masked_fill(pattern >= 1 - half, 1)


def gaussian_blur(x: Tensor, strength: Tensor, pattern: Tensor) -> Tensor:
    """Average over a normal density; at strength 1 its deviation is half of the longer side."""
    sigma = (strength * max(x.shape[-2:]) / 2).clamp(min=1e-3).view(-1, 1, 1)
    down, across = (_blur(side, sigma).unsqueeze(1) for side in x.shape[-2:])
    return (down @ x @ across.transpose(-1, -2)).clamp(0, 1)


def _blur(side: int, sigma: Tensor) -> Tensor:
    """(N, side, side) weights whose rows sum to one."""
    place = torch.arange(side, dtype=sigma.dtype, device=sigma.device)
    return torch.softmax(-0.5 * ((place.view(-1, 1) - place) / sigma) ** 2, -1)


def less_contrast(x: Tensor, strength: Tensor, pattern: Tensor) -> Tensor:
    """Go the share `strength` of the way to the middle grey."""
    return x + rows(strength, x) * (0.5 - x)


BASELINES: dict[str, Change] = {
    "uniform noise": uniform_noise,
    "salt and pepper": salt_and_pepper,
    "Gaussian blur": gaussian_blur,
    "contrast reduction": less_contrast,
}


def raised(
    change: Change, reached: Callable[[Tensor, Tensor], Tensor], x: Tensor, pattern: Tensor,
    steps: int = 100, halvings: int = 10,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Raise the strength evenly until the goal is reached, then bisect within the last step.

    Args:
        change: what is done to the images.
        reached: images (M, ...) and their rows (M,) -> (M,) Boolean.
        x: clean images (N, C, H, W) in [0, 1].
        pattern: uniform numbers like x, the same for all strengths.
        steps: strengths tried.
        halvings: of the last step.

    Returns:
        Images that were seen to reach the goal (the clean one where none did), and (N,) Boolean.
    """
    best, left = x, torch.arange(len(x), device=x.device)
    low, high = (torch.full((len(x),), v, dtype=x.dtype, device=x.device) for v in (0.0, torch.inf))
    for k in range(1, steps + 1):
        best, low, high, hit = _ask(
            change, reached, x, pattern, left, torch.full_like(low, k / steps), (best, low, high)
        )
        left = left[~hit]
        if not len(left):
            break
    left = high.isfinite().nonzero().flatten()
    for _ in range(halvings if len(left) else 0):
        best, low, high, _hit = _ask(
            change, reached, x, pattern, left, (low + high) / 2, (best, low, high)
        )
    return best, high.isfinite()


def _ask(
    change: Change, reached: Callable[[Tensor, Tensor], Tensor], x: Tensor, pattern: Tensor,
    left: Tensor, strength: Tensor, state: tuple[Tensor, Tensor, Tensor],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """One query for each of the rows `left`; best images, brackets of the strength, and the hits."""
    best, low, high = state
    point = change(x[left], strength[left], pattern[left])
    hit = reached(point, left)
    best = put(best, left[hit], point[hit])
    high = put(high, left[hit], strength[left[hit]])
    return best, put(low, left[~hit], strength[left[~hit]]), high, hit
