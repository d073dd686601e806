"""What physical attacks share: things that are put over images, and the way uphill through views."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Generator, Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError, NotApplicable
from holdfast.core.goal import AwayFrom, ToClass
from holdfast.core.space import of_box
from holdfast.core.target import Gradients
from holdfast.ops import transforms
from holdfast.ops.physical import palette, total_variation, unprintable


def check_channels(content: Tensor, x: Tensor) -> None:
    """Refuse content (C, h, w) on images (N, C', H, W) of another number of channels.

    Raises:
        InputError: they differ. Broadcasting would make colour images of grey ones.
    """
    if x.ndim != 4 or x.shape[1] != len(content):
        raise InputError(
            f"images must have {len(content)} channels, as what is put over them",
            got=f"shape {tuple(x.shape)}",
            fix="make it for images of the same kind",
        )


@dataclass(frozen=True, eq=False)
class Worn:
    """Pixels (C, H, W) that cover every image as far as `mask` (H, W), from 0 to 1, says.

    Attributes:
        delta: what is seen where the mask is one.
        mask: how much of it is seen.
        shift: how far it may slip, in shares of the side, both ways.
        rotation: how far it may turn, in degrees, both ways.
    """

    delta: Tensor
    mask: Tensor
    shift: float = 0.0
    rotation: float = 0.0

    def apply(self, x: Tensor, rng: Generator) -> Tensor:
        """Every image with it on; loose things sit a little differently on each."""
        check_channels(self.delta, x)
        layers = torch.cat([self.delta * self.mask, self.mask.unsqueeze(0)]).to(x)
        layers = layers.expand(len(x), -1, -1, -1)
        if self.shift or self.rotation:
            u = (2 * torch.rand(len(x), 3, generator=rng, device=x.device) - 1).to(x)
            angle = math.radians(self.rotation) * u[:, 0]
            layers = transforms.affine(layers, angle, self.shift * u[:, 1:])
        return x * (1 - layers[:, -1:]) + layers[:, :-1]

    def refilled(self, content: Tensor) -> Self:
        """The same shape and place with other pixels."""
        return replace(self, delta=content)

    def tensors(self) -> Mapping[str, Tensor]:
        """The pixels and how much of them is seen."""
        return {"delta": self.delta, "mask": self.mask}


@dataclass(frozen=True, eq=False)
class Crowd:
    """Inputs that are to be misread: those of other classes than the wanted one.

    Attributes:
        x: (N, ...) inputs.
        y: (N,) their classes.
        wanted: how they are to be answered, None for any other way.
        low: smallest valid value.
        high: largest valid value.
    """

    x: Tensor
    y: Tensor
    wanted: int | None
    low: float
    high: float

    @classmethod
    def of(cls, data: Dataset, wanted: int | None, space: object, images: bool = True) -> Self:
        """The rows of `data` that are not of the wanted class.

        Raises:
            NotApplicable: there are none, or they have to be images between bounds and are not.
        """
        others = data.take((data.y != (-1 if wanted is None else wanted)).nonzero().flatten())
        box, x = of_box(space), others.tensor
        if not len(x) or (images and x.ndim != 4):
            kind = "images" if images else "inputs"
            raise NotApplicable(f"needs {kind} of classes other than the wanted one")
        low, high = torch.as_tensor(box.low).min(), torch.as_tensor(box.high).max()
        if images and not (high - low).isfinite():
            raise NotApplicable("needs images with bounds, between which colours are mixed")
        return cls(x, others.y, wanted, float(low), float(high))

    def draw(self, count: int, rng: Generator) -> tuple[Tensor, AwayFrom]:
        """`count` random inputs and what is wanted of them."""
        rows = torch.randint(len(self.x), (count,), generator=rng, device=self.x.device)
        return self.x[rows], self.goal(rows)

    def goal(self, rows: Tensor) -> AwayFrom:
        """What is wanted of the rows `rows`."""
        if self.wanted is None:
            return AwayFrom(self.y[rows])
        return ToClass(torch.full_like(self.y[rows], self.wanted))

    def printable(self, levels: int, gamut: float) -> Tensor:
        """(P, C) colours a printer has: `levels` of each channel, within a share of the range."""
        middle, reach = (self.low + self.high) / 2, gamut * (self.high - self.low) / 2
        return palette(levels, self.x.shape[1], middle - reach, middle + reach).to(self.x)


def slope(
    target: Gradients,
    goal: AwayFrom,
    content: Tensor,
    show: Callable[[Tensor], Tensor],
    cost: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Gradient of (mean of goal.loss over images) - cost in `content`.

    The target gives d loss / d image; the chain rule through `show` carries it on.

    Args:
        target: the model.
        goal: what is wanted of each image.
        content: what is changed.
        show: content -> images (N, C, H, W).
        cost: content -> one number to be kept small.
    """
    with torch.enable_grad():
        leaf = content.detach().requires_grad_()
        shown = show(leaf)
        of_image = target.gradient(shown.detach(), goal.loss).wrt_input
        value = (shown * of_image).sum() / len(shown)
        if cost is not None:
            value = value - cost(leaf)
        return torch.autograd.grad(value, leaf)[0]


def print_cost(
    mask: Tensor, smoothness: float, printability: float, colours: Tensor, span: float = 1.0
) -> Callable[[Tensor], Tensor]:
    """Weighted sum of total variation and distance to printable colours, per pixel of the mask.

    Args:
        mask: (H, W) what is printed.
        smoothness: weight of the total variation.
        printability: weight of the distance to the nearest printable colour.
        colours: (P, C) that can be printed.
        span: width of the pixel range.
    """
    inside = (mask > 0).to(mask)
    count = inside.sum().clamp(min=1)

    def cost(content: Tensor) -> Tensor:
        x = content.unsqueeze(0) / span
        far = unprintable(x, colours / span, inside)
        return (smoothness * total_variation(x, inside) + printability * far).sum() / count

    return cost
