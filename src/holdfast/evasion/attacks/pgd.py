"""Projected gradient descent (Madry et al. 2018)."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Generator, Tensor

from holdfast.core.goal import Goal
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Box, Budget
from holdfast.core.target import Gradients
from holdfast.ops import balls
from holdfast.ops.rows import take


@method(cites="madry2018", where="sec. 2.1, last equation")
@dataclass(frozen=True)
class PGD(EvasionAttack[Gradients]):
    r"""Projected gradient descent.

    x_{t+1} = Pi_{B(x, eps)} ( x_t + alpha * steepest( grad L(f(x_t), y) ) )

    In L0 a step is so large that features meet their bounds, and the projection keeps those whose
    way to the bound times slope gains most (Croce & Hein 2019, sec. 3.1).

    The random start stays in the box by projection outside of the graph: clamping inside it kills
    the gradient of pixels at the bounds.
    """

    measures = ("linf", "l2", "l1", "l0")

    steps: int = hyper(40, "sec. 5, MNIST adversary", low=1)
    step_size: float = hyper(2.5, "in units of eps / steps; MadryLab robustness package", low=0)
    random_start: bool = hyper(True, "sec. 4, restarts")

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        space = target.space
        adv = space.random(x, budget, rng) if self.random_start else x
        for _ in range(self.steps):
            gradient = target.gradient(adv, goal.loss)
            keep = yield Candidate(adv, goal.degree(target.decode(gradient.raw)))
            x, adv, goal, budget, grad = take(keep, x, adv, goal, budget, gradient.wrt_input)
            if budget.measure == "l0":
                adv = adv + _leap(cast(Box, space), grad)
            else:
                alpha = self.step_size / self.steps * budget.rows(x)
                adv = torch.addcmul(adv, alpha, space.steepest(grad, adv, budget))
            adv = space.project(adv, x, budget)
        yield Candidate(adv, goal.degree(target.answer(adv)))


def _leap(space: Box, grad: Tensor) -> Tensor:
    """A step along the gradient that moves features by a hundred units on average."""
    unit = torch.as_tensor(space.scale, dtype=grad.dtype, device=grad.device)
    slope = unit * grad
    least = torch.finfo(grad.dtype).tiny  # confident models have gradients far below 1e-12
    mean = balls.rows(slope.abs().flatten(1).mean(1).clamp(min=least), grad)
    return 100 * unit * slope / mean
