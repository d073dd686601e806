"""AdvHat (Komkov and Petiushko 2021)."""

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
from holdfast.ops.physical import Views, total_variation
from holdfast.ops.transforms import drape


@dataclass(frozen=True, eq=False)
class Hat:
    """A rectangle (C, h, w) bent round a forehead, on each image a little differently.

    The spread of each draw is that of the authors' code: the bend by a sixth, the lean by two
    degrees, turned by one degree, scaled by 4 %, moved by 1/112 of the side.

    Attributes:
        delta: the sticker as it is printed.
        down: its middle, a share of the height.
        curve: rate of the parabola in units of the sticker's width.
        pitch: how far it leans back, in degrees.
    """

    delta: Tensor
    down: float
    curve: float
    pitch: float

    def apply(self, x: Tensor, rng: Generator) -> Tensor:
        """Every image with the sticker on its forehead."""
        check_channels(self.delta, x)
        height, width = x.shape[2:]
        u = (2 * torch.rand(len(x), 6, generator=rng, device=x.device) - 1).to(x)
        middle = x.new_tensor([0.0, (self.down - 0.5) * height, 0.0, 1.0])
        spread = x.new_tensor([width / 112, height / 112, math.radians(1), 0.04])
        curve = self.curve * (1 + u[:, 4] * 0.0002 / 0.0013)
        pitch = torch.deg2rad(self.pitch + 2 * u[:, 5])
        return drape(x, self.delta.to(x), middle + spread * u[:, :4], curve, pitch)

    def refilled(self, content: Tensor) -> "Hat":
        """The same shape and bend with other pixels."""
        return replace(self, delta=content)

    def tensors(self) -> Mapping[str, Tensor]:
        """The pixels; all of them are seen."""
        return {"delta": self.delta, "mask": torch.ones_like(self.delta[0])}


@method(cites="komkov2021", where="proposed method: off-plane transformation and attack")
@dataclass(frozen=True)
class AdvHat(UniversalAttack[Gradients]):
    r"""AdvHat.

    g_{t+1} = momentum g_t + (1 - momentum) grad( E_{x, bend, view} [ L ] + smoothness TV(sticker) )
    sticker_{t+1} = clip( sticker_t - step sign g_{t+1} )

    in two stages, the second with a smaller step and a longer memory. The sticker is bent to a
    parabola, leans back and is put on the upper part of the image; gradients go through the bend.
    The paper's L is the likeness to one's own face in a recogniser; here it is the loss of a
    classifier, away from the own class or towards a wanted one. The stages are of equal length,
    where the authors wait until the loss no longer falls.
    """

    thing = "sticker"
    physical = "object"

    targeted: bool = hyper(False, "authors' code: not to be recognised")
    width: float = hyper(0.7, "authors' code: 900 pixels at scale 0.465 on 600", low=0.01, high=1)
    height: float = hyper(0.31, "authors' code: 400 pixels likewise", low=0.01, high=1)
    down: float = hyper(0.225, "authors' code: 135 of 600 pixels from the top", low=0, high=1)
    curve: float = hyper(1.17, "authors' code: 0.0013 per pixel times 900", low=0)
    pitch: float = hyper(17.0, "authors' code, degrees", low=0, high=80)
    steps: int = hyper(100, "ours: at least 100 and 200 in the authors' code", low=1)
    batch: int = hyper(20, "authors' code", low=1)
    step_size: float = hyper(5 / 255, "authors' code, first stage; share of the pixel range", low=0)
    last_step_size: float = hyper(1 / 255, "authors' code, second stage", low=0)
    momentum: float = hyper(0.9, "authors' code, first stage", low=0, high=1)
    last_momentum: float = hyper(0.995, "authors' code, second stage", low=0, high=1)
    smoothness: float = hyper(0.1, "ours: weight per pixel of the sticker", low=0)
    views: float = hyper(1.0, "ours: strength of the views, one is what it is judged by", low=0)

    def craft(
        self, target: Gradients, data: Dataset, wanted: int | None, rng: Generator
    ) -> Iterator[Delta]:
        crowd = Crowd.of(data, wanted, target.space)
        low, high, views = crowd.low, crowd.high, Views().times(self.views)
        channels, *sides = crowd.x.shape[1:]
        size = [max(1, round(a * b)) for a, b in zip((self.height, self.width), sides, strict=True)]
        delta = crowd.x.new_full((channels, *size), (low + high) / 2)
        span = high - low

        def cost(pixels: Tensor) -> Tensor:
            return self.smoothness * total_variation(pixels[None] / span).sum() / delta[0].numel()

        memory = torch.zeros_like(delta)
        for step in range(self.steps):
            first = 2 * step < self.steps
            alpha = (self.step_size if first else self.last_step_size) * span
            kept = self.momentum if first else self.last_momentum
            x, goal = crowd.draw(self.batch, rng)

            def show(pixels: Tensor, x: Tensor = x) -> Tensor:
                worn = Hat(pixels, self.down, self.curve, self.pitch).apply(x, rng)
                return views.see(worn, rng, low, high)

            memory = kept * memory + (1 - kept) * slope(target, goal, delta, show, cost)
            delta = (delta + alpha * memory.sign()).clamp(low, high)
            yield Hat(delta, self.down, self.curve, self.pitch)
