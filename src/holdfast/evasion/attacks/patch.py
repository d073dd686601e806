"""Adversarial patch (Brown et al. 2017)."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Generator, Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.core.goal import AwayFrom, ToClass
from holdfast.core.kinds import Delta, UniversalAttack
from holdfast.core.method import hyper, method
from holdfast.core.space import Box
from holdfast.core.target import Gradients
from holdfast.ops import transforms


@dataclass(frozen=True, eq=False)
class Patch:
    """A square of pixels (C, s, s) that covers images where `mask` (s, s) is one, at random poses."""

    delta: Tensor
    mask: Tensor
    rotation: float
    scale: float

    def apply(self, x: Tensor, rng: Generator) -> Tensor:
        """Every image with the patch at a place, angle and scale of its own."""
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

    patch = argmax E_{x, pose} [ log p(wanted | paste(patch, x, pose)) ]

    by Adam on mini-batches, each image with a place, angle and scale of its own. The target gives
    d loss / d image; the chain rule through `paste` carries it on to the patch.
    """

    share: float = hyper(0.1, "sec. 3: about 10 % of the image fools reliably", low=0.001, high=1)
    round: bool = hyper(True, "fig. 1: a disc")
    rotation: float = hyper(22.5, "authors' notebook, degrees", low=0, high=180)
    scale: float = hyper(
        0.8, "ours: smallest size; small images leave no pixels to lose", low=0.05, high=1
    )
    steps: int = hyper(150, "ours: on 8 x 8 digits nothing is gained after 50", low=1)
    batch: int = hyper(32, "ours: 64 gained nothing on 8 x 8 digits", low=1)
    step_size: float = hyper(0.05, "ours, in units of the pixel range", low=0)

    def craft(
        self, target: Gradients, data: Dataset, wanted: int | None, rng: Generator
    ) -> Iterator[Delta]:
        others = data.take((data.y != (-1 if wanted is None else wanted)).nonzero().flatten())
        pool, box = others.tensor, cast(Box, target.space)
        if pool.ndim != 4 or not len(pool):
            raise NotApplicable("a patch needs images of classes other than the wanted one")
        low, high = float(torch.as_tensor(box.low).min()), float(torch.as_tensor(box.high).max())
        patch = pool.new_full((pool.shape[1], *[self._side(pool)] * 2), (low + high) / 2)
        mask = _disc(patch[0]) if self.round else torch.ones_like(patch[0])
        adam = torch.optim.Adam(
            [patch.requires_grad_()], self.step_size * (high - low), maximize=True
        )
        for _ in range(self.steps):
            rows = torch.randint(len(pool), (self.batch,), generator=rng, device=pool.device)
            away = AwayFrom(others.y[rows])
            goal = away if wanted is None else ToClass(torch.full_like(rows, wanted))
            with torch.enable_grad():
                placed = Patch(patch, mask, self.rotation, self.scale).apply(pool[rows], rng)
                of_image = target.gradient(placed, goal.loss).wrt_input
                (patch.grad,) = torch.autograd.grad(placed, patch, grad_outputs=of_image)
            adam.step()
            with torch.no_grad():
                patch.clamp_(low, high)
            yield Patch(patch.detach().clone(), mask, self.rotation, self.scale)

    def _side(self, images: Tensor) -> int:
        """Side of a square of `share` of the image, in whole pixels."""
        height, width = images.shape[2:]
        return min(height, width, max(1, round(math.sqrt(self.share * height * width))))


def _disc(square: Tensor) -> Tensor:
    """One inside of the circle that the square holds."""
    place = torch.linspace(-1, 1, len(square) + 1)[:-1] + 1 / len(square)
    return ((place[:, None] ** 2 + place**2) <= 1).to(square)
