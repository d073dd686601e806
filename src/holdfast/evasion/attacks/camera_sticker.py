"""Adversarial camera stickers (Li et al. 2019)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.kinds import Delta, UniversalAttack
from holdfast.core.method import hyper, method
from holdfast.core.target import Gradients
from holdfast.evasion.printing import Crowd, Worn, slope
from holdfast.ops.physical import Views
from holdfast.ops.transforms import dots


@method(cites="li2019", where="sec. 3, attack model and its optimisation")
@dataclass(frozen=True)
class CameraSticker(UniversalAttack[Gradients]):
    r"""Translucent sticker on the camera lens.

    x_{k+1} = (1 - a_k) x_k + a_k colour_k,   a_k = opacity_k exp(-(distance^2 / radius_k^2)^sharpness)

    for k = 1 .. dots: each dot is blended over the picture and the dots before it. They are put on
    one after the other, each at the place of a grid and in the colour that does best; then
    places, radii, colours and opacities of all dots follow the gradient together. Whatever is in
    the picture, the dots lie over it unmoved.
    """

    thing = "lens sticker"
    physical = "lens"

    targeted: bool = hyper(True, "sec. 4: from one class to a wanted one")
    dots: int = hyper(6, "ours: the paper has ten on pictures of 224 pixels", low=1)
    places: int = hyper(4, "ours: tried along each side; the paper has 45 of 224 pixels", low=1)
    inks: int = hyper(2, "ours: levels of each channel that are tried", low=1)
    radius: float = hyper(0.12, "ours: at first, share of the shorter side", low=0.01, high=1)
    spread: float = hyper(1.5, "ours: factor by which radii may grow or shrink", low=1)
    opacity: float = hyper(0.4, "ours: of the middle of a dot at most", low=0, high=1)
    sharpness: float = hyper(
        1.5, "ours: beta of the paper, between soft and printed edges", low=0.1
    )
    steps: int = hyper(30, "ours: on 8 x 8 digits nothing is gained after", low=1)
    batch: int = hyper(32, "ours: as many pictures at once as of a patch", low=1)
    step_size: float = hyper(0.05, "ours: Adam's, in shares of each parameter's range", low=0)
    views: float = hyper(1.0, "ours: strength of the views, one is what it is judged by", low=0)

    def craft(
        self, target: Gradients, data: Dataset, wanted: int | None, rng: Generator
    ) -> Iterator[Delta]:
        crowd = Crowd.of(data, wanted, target.space)
        low, high, views = crowd.low, crowd.high, Views().times(self.views)
        tried = self._tried(crowd)
        chosen = tried[:0]
        for _ in range(self.dots):
            x, goal = crowd.draw(self.batch, rng)
            seen = views.see(x, rng, low, high)
            value = [
                goal.loss(
                    target.scores(self.sheet(torch.cat([chosen, dot]), crowd).apply(seen, rng))
                )
                for dot in tried.split(1)
            ]
            chosen = torch.cat([chosen, tried[torch.stack(value).mean(1).argmax()][None]])
            yield self.sheet(chosen, crowd)
        adam = torch.optim.Adam([chosen], self.step_size, maximize=True)
        for _ in range(self.steps):
            x, goal = crowd.draw(self.batch, rng)
            seen = views.see(x, rng, low, high)

            def show(parameters: Tensor, seen: Tensor = seen) -> Tensor:
                return self.sheet(parameters, crowd).apply(seen, rng)

            chosen.grad = slope(target, goal, chosen, show)
            adam.step()
            chosen.clamp_(0, 1)
            yield self.sheet(chosen.clone(), crowd)

    def _tried(self, crowd: Crowd) -> Tensor:
        """(P, 4 + C) all first dots: every place of the grid in every colour, opaque as allowed."""
        at = (torch.arange(self.places).to(crowd.x) + 0.5) / self.places
        colours = (crowd.printable(self.inks, 1.0) - crowd.low) / (crowd.high - crowd.low)
        grid = torch.cartesian_prod(at, at)
        place = grid.repeat_interleave(len(colours), 0)
        rest = place.new_tensor([0.5, 1.0]).expand(len(place), 2)
        return torch.cat([place, rest, colours.repeat(len(grid), 1)], 1)

    def sheet(self, parameters: Tensor, crowd: Crowd) -> Worn:
        """The dots (K, 4 + C) as one layer; differentiable.

        A row is place across and down, radius, opacity and colour, each from 0 to 1 over its range.
        """
        place, radius, opacity = (
            parameters[:, :2],
            parameters[:, 2],
            self.opacity * parameters[:, 3],
        )
        colour = crowd.low + (crowd.high - crowd.low) * parameters[:, 4:]
        height, width = crowd.x.shape[2:]
        radius = self.radius * self.spread ** (2 * radius - 1)
        alpha = opacity.view(-1, 1, 1) * dots((height, width), place, radius, self.sharpness)
        light, left = crowd.x.new_zeros(crowd.x.shape[1:]), crowd.x.new_ones(height, width)
        for a, c in zip(alpha, colour, strict=True):
            light = (1 - a) * light + a * c.view(-1, 1, 1)
            left = (1 - a) * left
        return Worn(light / (1 - left).clamp(min=1e-6), 1 - left)
