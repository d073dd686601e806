"""Changes of images (N, C, H, W): bit depth, median filter, warps, pasting under a pose."""

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
    grid = affine_grid(theta, [len(x), 1, height, width], align_corners=False)
    return _cover(x, patch, mask, grid)


def _cover(x: Tensor, patch: Tensor, mask: Tensor, grid: Tensor) -> Tensor:
    """Put `patch` over `x` where `grid` (N, H, W, 2) looks it up inside of `mask`."""
    layers = torch.cat([patch * mask, mask.unsqueeze(0)]).expand(len(x), -1, -1, -1)
    seen = grid_sample(layers, grid, padding_mode="zeros", align_corners=False)
    return x * (1 - seen[:, -1:]) + seen[:, :-1]


def drape(x: Tensor, patch: Tensor, pose: Tensor, curve: Tensor, pitch: Tensor) -> Tensor:
    """Put a rectangle (C, h, w) over every image as it looks bent round a forehead.

    It is bent to the parabola depth = curve / w * across^2 without being stretched: a pixel of the
    image at `across` shows what lies at the arc length

        across / 2 sqrt(1 + (2 k across)^2) + asinh(2 k across) / (4 k),   k = curve / w.

    Leaning back by `pitch` then lowers what is deep and shortens the height (Komkov & Petiushko
    2021). Differentiable in the patch and in all that places it.

    Args:
        x: images (N, C, H, W).
        patch: the rectangle; at scale one and flat a pixel of it covers a pixel of the image.
        pose: (N, 4) across and down from the middle of the image in pixels, counter-clockwise
            angle in radians, scale.
        curve: (N,) at least zero.
        pitch: (N,) radians below a quarter turn.
    """
    (height, width), (h, w) = x.shape[2:], patch.shape[1:]
    across, down, angle, scale = (v.view(-1, 1, 1) for v in pose.to(x).unbind(1))
    right = torch.arange(width).to(x) - (width - 1) / 2 - across
    below = (torch.arange(height).to(x) - (height - 1) / 2).view(-1, 1) - down
    cos, sin = angle.cos() / scale, angle.sin() / scale
    u, v = cos * right - sin * below, sin * right + cos * below
    k = (curve.to(x) / w).clamp(min=1e-6).view(-1, 1, 1)
    arc = u / 2 * (1 + (2 * k * u).square()).sqrt() + (2 * k * u).asinh() / (4 * k)
    lean = pitch.to(x).view(-1, 1, 1)
    up = (v - k * u.square() * lean.sin()) / lean.cos()
    grid = torch.stack([2 * arc / w, 2 * up / h], -1)
    return _cover(x, patch, torch.ones_like(patch[0]), grid)


def affine(
    x: Tensor, angle: Tensor, shift: Tensor, scale: Tensor | None = None, padding: str = "zeros"
) -> Tensor:
    """Each image turned, enlarged and moved, bilinearly; differentiable in everything.

    Args:
        x: images (N, C, H, W).
        angle: (N,) radians, counter-clockwise about the middle.
        shift: (N, 2) to the right and down, in shares of width and height.
        scale: (N,) factor of enlargement, None for one.
        padding: what comes in at the edges: zeros, border or reflection.
    """
    height, width = x.shape[2:]
    size = torch.ones_like(angle) if scale is None else scale
    cos, sin = angle.cos() / size, angle.sin() / size
    right, below = (2 * shift).unbind(1)
    skew, back = sin * height / width, sin * width / height
    rows = [
        torch.stack([cos, -skew, skew * below - cos * right], 1),
        torch.stack([back, cos, -back * right - cos * below], 1),
    ]
    grid = affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    return grid_sample(x, grid, padding_mode=padding, align_corners=False)


def flowed(x: Tensor, flow: Tensor) -> Tensor:
    """Every pixel looked up `flow` (N, 2, H, W) pixels to the right and down, bilinearly.

    Edges are repeated outwards. Xiao et al. 2018, eq. 1; differentiable in both.
    """
    height, width = x.shape[2:]
    still = torch.eye(2, 3).to(x).expand(len(x), 2, 3)
    grid = affine_grid(still, list(x.shape), align_corners=False)
    unit = torch.tensor([2 / width, 2 / height]).to(x)
    return grid_sample(
        x, grid + flow.permute(0, 2, 3, 1) * unit, padding_mode="border", align_corners=False
    )


def roughness(flow: Tensor) -> Tensor:
    """(N,) sum over pixels and their four neighbours of how far their flows (N, 2, H, W) differ.

    Xiao et al. 2018, eq. 4: every pair of neighbours counts twice.
    """
    steps = (flow.diff(dim=2), flow.diff(dim=3))
    # the root of zero has no slope; authors' code adds as much
    lengths = [(step.square().sum(1) + 1e-8).sqrt().flatten(1).sum(1) for step in steps]
    return 2 * (lengths[0] + lengths[1])


def dots(shape: tuple[int, int], centre: Tensor, radius: Tensor, sharpness: float) -> Tensor:
    """(K, H, W) soft discs from 0 to 1: exp(-d^sharpness), d = distance^2 / radius^2.

    These are the dots of Li et al. 2019, sec. 3.

    Args:
        shape: height and width in pixels.
        centre: (K, 2) to the right and down, from 0 to 1 over the image.
        radius: (K,) in shares of the shorter side.
        sharpness: how suddenly a disc ends; one gives a Gaussian.
    """
    height, width = shape
    right = ((torch.arange(width).to(centre) + 0.5) / width).view(1, 1, -1)
    below = ((torch.arange(height).to(centre) + 0.5) / height).view(1, -1, 1)
    least = min(shape)
    dx = (right - centre[:, 0].view(-1, 1, 1)) * width / least
    dy = (below - centre[:, 1].view(-1, 1, 1)) * height / least
    away = (dx.square() + dy.square()) / radius.view(-1, 1, 1).square()
    return (-(away + 1e-12).pow(sharpness)).exp()  # the root of zero has no slope
