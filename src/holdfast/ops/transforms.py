"""Changes of images (N, C, H, W): bit depth, median filter, pasting under a pose."""

import math

import torch
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, grid_sample


def bit_depth(x: Tensor, bits: int) -> Tensor:
    """Round values in [0, 1] to 2^bits levels."""
    levels = (1 << bits) - 1
    return (x * levels).round() / levels


def median_filter(x: Tensor, size: int) -> Tensor:
    """Median over size x size windows, the edge mirrored; as `scipy.ndimage.median_filter`.

    A window of even size reaches one further up and left, and its upper median is taken.
    """
    for dim in (2, 3):
        length = x.shape[dim]
        index = torch.arange(-(size // 2), length + (size - 1) // 2, device=x.device) % (2 * length)
        x = x.index_select(dim, torch.where(index < length, index, 2 * length - 1 - index))
    windows = x.unfold(2, size, 1).unfold(3, size, 1).flatten(-2)
    return windows.kthvalue(size * size // 2 + 1, dim=-1).values


def poses(
    count: int, rotation: float, scale: float, rng: Generator, device: torch.device
) -> Tensor:
    """(count, 4) draws of (across, down, angle, scale), all uniform.

    Places are in [-1, 1], the range over which a patch stays inside; angles within +-rotation
    degrees; scales between `scale` and one.
    """
    u = torch.rand(count, 4, generator=rng, device=device)
    low = u.new_tensor([-1.0, -1.0, -math.radians(rotation), scale])
    high = u.new_tensor([1.0, 1.0, math.radians(rotation), 1.0])
    return low + (high - low) * u


def paste(x: Tensor, patch: Tensor, mask: Tensor, pose: Tensor) -> Tensor:
    """Put `patch` (C, h, w) over every image where `mask` (h, w) is one; differentiable in both.

    At scale one a pixel of the patch covers a pixel of the image. Each output pixel is looked up
    in the patch by the inverse of the pose, bilinearly.
    """
    (height, width), (h, w) = x.shape[2:], patch.shape[1:]
    across, down, angle, scale = pose.to(x).unbind(1)
    # centre of the patch in pixels from the centre of the image, so that a straight one stays inside
    right, below = across * (width - scale * w) / 2, down * (height - scale * h) / 2
    cos, sin = angle.cos() / scale, angle.sin() / scale
    theta = torch.stack(
        [
            torch.stack([cos * width / w, sin * height / w, -2 * (cos * right + sin * below) / w], 1),
            torch.stack([-sin * width / h, cos * height / h, 2 * (sin * right - cos * below) / h], 1),
        ],
        1,
    )  # fmt: skip
    layers = torch.cat([patch * mask, mask.unsqueeze(0)]).expand(len(x), -1, -1, -1)
    grid = affine_grid(theta, [len(x), len(layers[0]), height, width], align_corners=False)
    seen = grid_sample(layers, grid, padding_mode="zeros", align_corners=False)
    return x * (1 - seen[:, -1:]) + seen[:, :-1]
