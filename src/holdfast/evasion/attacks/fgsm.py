"""Fast gradient sign method (Goodfellow et al. 2015) and its one-step relatives."""

from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Generator, Tensor

from holdfast.core.goal import Goal, ToClass
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Box, Budget
from holdfast.core.target import Gradients
from holdfast.ops.losses import cross_entropy
from holdfast.ops.rows import take

VARIANTS = ("fgsm", "r-fgsm", "fast")


@method(cites="goodfellow2015", where="sec. 4, first equation")
@dataclass(frozen=True)
class FGSM(EvasionAttack[Gradients]):
    r"""Fast gradient sign method.

    x' = x + eps * steepest( grad L(f(x), y) )

    The best change of size eps for the loss's linear part: signs in Linf, the gradient itself in
    L2, and in L1 the features of the largest slopes, each filled up to its bound.

    r-fgsm: from s = x + eps/2 * sign(N(0, 1)), a step of eps/2 (Tramer et al. 2018, eq. 7).
    fast:   from s uniform in the ball, a step of 1.25 eps, projected (Wong et al. 2020, alg. 3).

    With `least_likely` the loss is the log-probability of the class that is least likely at s
    (Kurakin et al. 2017, sec. 2.3), unless a class is wanted anyhow.
    """

    measures = ("linf", "l2", "l1")

    variant: str = hyper("fgsm", "sec. 4; the others start from noise", choices=VARIANTS)
    least_likely: bool = hyper(False, "sec. 4 climbs the loss of the label")

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        space, start = target.space, x
        if self.variant != "fgsm":
            keep = yield Candidate(x, goal.degree(target.answer(x)))
            x, goal, budget = take(keep, x, goal, budget)
            if self.variant == "fast":
                start = space.random(x, budget, rng)
            else:
                noise = torch.empty_like(x).normal_(generator=rng)
                way = space.steepest(noise, x, budget)
                start = space.project(x + budget.rows(x) / 2 * way, x, budget)
        gradient = target.gradient(start, partial(self._loss, goal))
        keep = yield Candidate(start, goal.degree(target.decode(gradient.raw)))
        x, start, goal, budget, grad = take(keep, x, start, goal, budget, gradient.wrt_input)
        size = {"fgsm": 1.0, "r-fgsm": 0.5, "fast": 1.25}[self.variant] * budget.rows(x)
        if budget.measure == "l1":
            step = _filled(cast(Box, space), start, grad, size)
        else:
            step = size * space.steepest(grad, start, budget)
        adv = space.project(start + step, x, budget)
        yield Candidate(adv, goal.degree(target.answer(adv)))

    def _loss(self, goal: Goal, raw: Tensor) -> Tensor:
        if self.least_likely and not isinstance(goal, ToClass):
            return -cross_entropy(raw, raw.detach().argmin(1))
        return goal.loss(raw)


def _filled(space: Box, at: Tensor, grad: Tensor, size: Tensor) -> Tensor:
    """The change of L1 size `size` within the box that gains most: steepest features first."""
    low, high, unit = (
        torch.as_tensor(v, dtype=at.dtype, device=at.device)
        for v in (space.low, space.high, space.scale)
    )
    slope = (unit * grad).flatten(1)
    room = torch.minimum(torch.where(grad > 0, high - at, at - low) / unit, size).flatten(1)
    order = slope.abs().argsort(dim=1, descending=True)
    sorted_room = room.gather(1, order)
    before = sorted_room.cumsum(1) - sorted_room
    part = torch.minimum((size.view(-1, 1) - before).clamp(min=0), sorted_room)
    step = torch.zeros_like(slope).scatter(1, order, part) * slope.sign()
    return unit * step.view_as(at)
