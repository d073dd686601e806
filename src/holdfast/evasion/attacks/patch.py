"""Adversarial patch (Brown et al. 2017)."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.kinds import Delta, UniversalAttack
from holdfast.core.method import hyper, method
from holdfast.core.target import Gradients
from holdfast.evasion.printing import Crowd, check_channels, slope
from holdfast.ops import transforms
from holdfast.ops.physical import Views


@dataclass(frozen=True, eq=False)
class Patch:
    """A square of pixels (C, s, s) that covers images where `mask` (s, s) is one, at random poses."""

    delta: Tensor
    mask: Tensor
    rotation: float
    scale: float

    def apply(self, x: Tensor, rng: Generator) -> Tensor:
        """Every image with the patch at a place, angle and scale of its own."""
        check_channels(self.delta, x)
        pose = transforms.poses(len(x), self.rotation, self.scale, rng, x.device)
        return transforms.paste(x, self.delta.to(x), self.mask.to(x), pose)

    def refilled(self, content: Tensor) -> "Patch":
        """The same shape and poses with other pixels."""
        return replace(self, delta=content)

    def tensors(self) -> Mapping[str, Tensor]:
        """The pixels and where they count."""
        return {"delta": self.delta, "mask": self.mask}


@method(cites="brown2017", where="sec. 2")
@dataclass(frozen=True)
class AdversarialPatch(UniversalAttack[Gradients]):
    r"""Adversarial patch.

    patch = argmax E_{x, pose, view} [ log p(wanted | view(paste(patch, x, pose))) ]

    by Adam on mini-batches, each image with a place, angle and scale of its own, seen in a view of
    its own (light, blur, noise, a little motion), as the patch is to be printed. The target gives
    d loss / d image; the chain rule through view and pose carries it on to the patch.
    """

    thing = "patch"
    physical = "object"

    targeted: bool = hyper(True, "sec. 2: towards a class; else away from each image's own")
    share: float = hyper(0.1, "sec. 3: about 10 % of the image fools reliably", low=0.001, high=1)
    round: bool = hyper(True, "fig. 1: a disc")
    rotation: float = hyper(22.5, "authors' notebook, degrees", low=0, high=180)
    scale: float = hyper(
        0.8, "ours: smallest size; small images leave no pixels to lose", low=0.05, high=1
    )
    steps: int = hyper(150, "ours: on 8 x 8 digits nothing is gained after 50", low=1)
    batch: int = hyper(32, "ours: 64 gained nothing on 8 x 8 digits", low=1)
    step_size: float = hyper(0.05, "ours, in units of the pixel range", low=0)
    views: float = hyper(1.0, "ours: strength of the views, one is what it is judged by", low=0)

    def craft(
        self, target: Gradients, data: Dataset, wanted: int | None, rng: Generator
    ) -> Iterator[Delta]:
        crowd = Crowd.of(data, wanted, target.space)
        low, high, views = crowd.low, crowd.high, Views().times(self.views)
        patch = crowd.x.new_full((crowd.x.shape[1], *[self._side(crowd.x)] * 2), (low + high) / 2)
        mask = _disc(patch[0]) if self.round else torch.ones_like(patch[0])
        adam = torch.optim.Adam([patch], self.step_size * (high - low), maximize=True)
        for _ in range(self.steps):
            x, goal = crowd.draw(self.batch, rng)

            def show(pixels: Tensor, x: Tensor = x) -> Tensor:
                worn = Patch(pixels, mask, self.rotation, self.scale).apply(x, rng)
                return views.see(worn, rng, low, high)

            patch.grad = slope(target, goal, patch, show)
            adam.step()
            patch.clamp_(low, high)
            yield Patch(patch.clone(), mask, self.rotation, self.scale)

    def _side(self, images: Tensor) -> int:
        """Side of a square of `share` of the image, in whole pixels."""
        height, width = images.shape[2:]
        return min(height, width, max(1, round(math.sqrt(self.share * height * width))))


def _disc(square: Tensor) -> Tensor:
    """One inside of the circle that the square holds."""
    place = torch.linspace(-1, 1, len(square) + 1)[:-1] + 1 / len(square)
    return ((place[:, None] ** 2 + place**2) <= 1).to(square)
