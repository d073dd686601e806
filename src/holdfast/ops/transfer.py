"""What makes the gradients of one model serve against another: views of inputs, smooth gradients."""

import torch
from torch import Generator, Tensor
from torch.nn.functional import conv2d, interpolate, pad

from holdfast.ops import balls


def accumulated(momentum: Tensor, grad: Tensor, decay: float, unit: Tensor | float = 1.0) -> Tensor:
    """Momentum: decay * momentum + grad / |grad|_1, every row by its own size in units of `unit`.

    Dong et al. 2018, eq. 6.
    """
    size = balls.size(unit * grad, "l1").clamp(min=torch.finfo(grad.dtype).tiny)
    return decay * momentum + grad / balls.rows(size, grad)


def shrunk(x: Tensor, size: int, top: int, left: int) -> Tensor:
    """Images (N, C, H, W) resized to size x size * W / H and put into a black frame of H x W."""
    height, width = x.shape[2:]
    across = max(1, round(size * width / height))
    small = interpolate(x, (size, across), mode="bilinear", align_corners=False)
    return pad(small, (left, width - across - left, top, height - size - top))


def place(x: Tensor, least: float, rng: Generator) -> tuple[int, int, int]:
    """Size, top and left of a random view of images: smaller by one factor from `least` to 1."""
    height, width = x.shape[2:]

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (1,), generator=rng, device=rng.device))

    size = draw(min(height, max(1, round(least * height))), height)
    across = max(1, round(size * width / height))
    return size, draw(0, height - size), draw(0, width - across)


def gaussian(size: int, sigmas: float = 3.0) -> Tensor:
    """(size, size) weights of a normal law cut at `sigmas` standard deviations; they sum to one."""
    if size < 2:
        return torch.ones(1, 1)
    line = torch.linspace(-sigmas, sigmas, size)
    weight = (-line.square() / 2).exp()
    weight = weight.outer(weight)
    return weight / weight.sum()


def smooth(g: Tensor, kernel: Tensor) -> Tensor:
    """Every channel of (N, C, H, W) convolved with an odd kernel, with zeros around."""
    channels = g.shape[1]
    weight = kernel.to(g).expand(channels, 1, *kernel.shape)
    return conv2d(g, weight, padding="same", groups=channels)
