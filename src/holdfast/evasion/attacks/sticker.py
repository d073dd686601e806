"""Robust physical perturbations (Eykholt et al. 2018)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import avg_pool2d

from holdfast.core.dataset import Dataset
from holdfast.core.kinds import Delta, UniversalAttack
from holdfast.core.method import hyper, method
from holdfast.core.target import Gradients
from holdfast.evasion.printing import Crowd, Worn, print_cost, slope
from holdfast.ops.physical import Views


@method(cites="eykholt2018", where="eq. 3")
@dataclass(frozen=True)
class RobustPhysicalPerturbation(UniversalAttack[Gradients]):
    r"""Physical sticker on an object (RP2).

    delta = argmin E_{x, view} [ L(f(view((1 - M) x + M delta)), wanted) ]
            + smoothness TV(M delta) + printability NPS(M delta)

    by Adam, over objects x and random views of them. The mask M is found first: the bars, two by
    default as on the paper's stop sign, lie where the loss is steepest on average. Unlike the
    paper's, the bars are opaque, since what is glued on does not show what lies below; total
    variation takes the place of the penalty on the size of delta, which then has no meaning; and
    NPS is the distance to the nearest printable colour rather than the product over all.
    """

    thing = "sticker"
    physical = "object"

    targeted: bool = hyper(True, "sec. 4: a stop sign read as a speed limit")
    share: float = hyper(0.2, "ours: both bars on the stop sign of fig. 1", low=0.001, high=1)
    bars: int = hyper(2, "fig. 1", low=1)
    shape: float = hyper(2.5, "ours: width by height of a bar, as in fig. 1", low=0.05)
    steps: int = hyper(60, "ours: 300 gain 1 % on 8 x 8 digits", low=1)
    batch: int = hyper(32, "ours: as many objects and views at once as of a patch", low=1)
    step_size: float = hyper(0.1, "ours, in units of the pixel range", low=0)
    smoothness: float = hyper(1.0, "ours: per pixel; on traffic signs 2 costs success", low=0)
    printability: float = hyper(1.0, "ours: per pixel; on traffic signs 2 costs success", low=0)
    inks: int = hyper(3, "ours: 27 colours in RGB; Sharif et al. 2016 take 30", low=1)
    gamut: float = hyper(0.9, "ours: share of the pixel range that is printed", low=0, high=1)
    views: float = hyper(1.0, "ours: strength of the views, one is what it is judged by", low=0)

    def craft(
        self, target: Gradients, data: Dataset, wanted: int | None, rng: Generator
    ) -> Iterator[Delta]:
        crowd = Crowd.of(data, wanted, target.space)
        low, high, views = crowd.low, crowd.high, Views().times(self.views)
        x, goal = crowd.draw(2 * self.batch, rng)
        mask = self._mask(target.gradient(x, goal.loss).wrt_input.abs().sum((0, 1)))
        colours = crowd.printable(self.inks, self.gamut)
        cost = print_cost(mask, self.smoothness, self.printability, colours, high - low)
        delta = torch.full_like(x[0], (low + high) / 2)
        adam = torch.optim.Adam([delta], self.step_size * (high - low), maximize=True)
        for _ in range(self.steps):
            x, goal = crowd.draw(self.batch, rng)

            def show(content: Tensor, x: Tensor = x) -> Tensor:
                return views.see(Worn(content, mask).apply(x, rng), rng, low, high)

            delta.grad = slope(target, goal, delta, show, cost)
            adam.step()
            delta.clamp_(low, high)
            yield Worn(delta.clone(), mask)

    def _mask(self, steepness: Tensor) -> Tensor:
        """(H, W) ones on the bars: each lies where what is left of `steepness` sums up highest."""
        height, width = steepness.shape
        area = self.share * height * width / self.bars
        h = min(height, max(1, round((area / self.shape) ** 0.5)))
        w = min(width, max(1, round(area / h)))
        left, mask = steepness.clone(), torch.zeros_like(steepness)
        for _ in range(self.bars):
            sums = avg_pool2d(left.view(1, 1, height, width), (h, w), stride=1)[0, 0]
            top, start = divmod(int(sums.argmax()), sums.shape[1])
            mask[top : top + h, start : start + w] = 1
            left[top : top + h, start : start + w] = 0
        return mask
