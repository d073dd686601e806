"""Adversarial eyeglass frames (Sharif et al. 2016)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.kinds import Delta, UniversalAttack
from holdfast.core.method import hyper, method
from holdfast.core.target import Gradients
from holdfast.evasion.printing import Crowd, Worn, slope
from holdfast.ops.physical import Views, non_printability, total_variation


@method(cites="sharif2016", where="sec. 4")
@dataclass(frozen=True)
class EyeglassFrames(UniversalAttack[Gradients]):
    r"""Adversarial eyeglass frames.

    v_{t+1} = momentum v_t + alpha g / |g|_inf - smoothness d / |d|_inf - printability p / |p|_inf
    frames_{t+1} = clip( frames_t + v_{t+1} )

    where g is the mean slope of log p(wanted) (impersonation) or of the loss (dodging) over faces
    and movements of the frames, and d and p are those of total variation and non-printability on
    the frames. They start in the one printable colour that does best.

    The frames are drawn for a face that fills the image: round a point at two fifths of the height.
    """

    thing = "frame"
    physical = "object"

    targeted: bool = hyper(True, "sec. 4: impersonation; else dodging")
    steps: int = hyper(100, "ours: 300 at most in the authors' code", low=1)
    batch: int = hyper(30, "authors' code, num_images", low=1)
    step_size: float = hyper(20 / 255, "authors' code, step_size; share of the pixel range", low=0)
    momentum: float = hyper(0.4, "authors' code, momentum_coeff", low=0, high=1)
    smoothness: float = hyper(3 / 255, "authors' code, lambda_tv; share of the range", low=0)
    printability: float = hyper(5 / 255, "authors' code, printability_coeff; likewise", low=0)
    thickness: float = hyper(0.023, "ours: 6.5 % of the face is covered (sec. 4)", low=0)
    shift: float = hyper(4 / 224, "authors' code, 4 of 224 pixels both ways", low=0)
    rotation: float = hyper(4.0, "authors' code, degrees both ways", low=0)
    inks: int = hyper(3, "ours: 27 colours in RGB; the paper has 30", low=1)
    gamut: float = hyper(0.9, "ours: share of the pixel range that is printed", low=0, high=1)
    views: float = hyper(1.0, "ours: strength of the views, one is what it is judged by", low=0)

    def craft(
        self, target: Gradients, data: Dataset, wanted: int | None, rng: Generator
    ) -> Iterator[Delta]:
        crowd = Crowd.of(data, wanted, target.space)
        low, high, views = crowd.low, crowd.high, Views().times(self.views)
        span, mask = high - low, frame(crowd.x[0, 0], self.thickness)
        colours = crowd.printable(self.inks, self.gamut)

        def rough(pixels: Tensor) -> Tensor:
            return total_variation(pixels[None] / span, mask).sum()

        def unprinted(pixels: Tensor) -> Tensor:
            return non_printability(pixels[None] / span, colours / span, mask).sum()

        content = self._best_colour(target, crowd, colours, mask, rng)
        velocity = torch.zeros_like(content)
        for _ in range(self.steps):
            x, goal = crowd.draw(self.batch, rng)

            def show(pixels: Tensor, x: Tensor = x) -> Tensor:
                worn = Worn(pixels, mask, self.shift, self.rotation)
                return views.see(worn.apply(x, rng), rng, low, high)

            velocity = self.momentum * velocity + span * (
                self.step_size * _unit(slope(target, goal, content, show))
                - self.smoothness * _unit(_slope_of(rough, content))
                - self.printability * _unit(_slope_of(unprinted, content))
            )
            content = (content + velocity).clamp(low, high)
            yield Worn(content, mask, self.shift, self.rotation)

    def _best_colour(
        self, target: Gradients, crowd: Crowd, colours: Tensor, mask: Tensor, rng: Generator
    ) -> Tensor:
        """(C, H, W) of the one printable colour whose frames serve the goal best."""
        x, goal = crowd.draw(self.batch, rng)
        shape = (len(colours), *x.shape[1:])
        solid = colours.view(*colours.shape, 1, 1).expand(shape)
        tried = torch.cat([Worn(each, mask).apply(x, rng) for each in solid])
        rows = torch.arange(len(x), device=x.device).repeat(len(solid))
        value = goal.take(rows).loss(target.scores(tried)).view(len(solid), -1).mean(1)
        return solid[value.argmax()].clone()


def frame(like: Tensor, thickness: float) -> Tensor:
    """(H, W) ones on two rims, the bridge between them and the temples; never thinner than a pixel.

    Args:
        like: an image plane (H, W).
        thickness: of all lines, a share of the shorter side.
    """
    height, width = like.shape
    right = ((torch.arange(width) + 0.5) / width - 0.5).view(1, -1)
    below = ((torch.arange(height) + 0.5) / height - 0.4).view(-1, 1)
    half = max(thickness, 1 / min(height, width)) / 2
    across, down = 0.17, 0.13
    away = (right.abs() - 0.21) / across
    ring = (away.pow(4) + (below / down).pow(4)).pow(0.25)
    rims = (ring - 1).abs() * min(across, down) <= half
    level = (below + 0.04).abs() <= half
    bridge = level & (right.abs() <= 0.21 - across)
    temples = level & (right.abs() >= 0.21 + across)
    return (rims | bridge | temples).to(like)


def _unit(slopes: Tensor) -> Tensor:
    """The slopes over the largest of them."""
    return slopes / slopes.abs().max().clamp(min=1e-12)


def _slope_of(cost: Callable[[Tensor], Tensor], content: Tensor) -> Tensor:
    """Slope of a cost of the content."""
    with torch.enable_grad():
        leaf = content.detach().requires_grad_()
        return torch.autograd.grad(cost(leaf), leaf)[0]
