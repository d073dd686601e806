"""Distributionally adversarial attack (Zheng, Chen & Ren 2019)."""

import math
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

AUTHORS = {"blob": 1.1, "dgf": 0.001}


@method(cites="zheng2019", where="alg. 1; DAA-BLOB and DAA-DGF")
@dataclass(frozen=True)
class Distributional(EvasionAttack[Gradients]):
    r"""Distributionally adversarial attack.

    The rows of a batch are particles of a distribution that flows to where the risk is largest:

    x_i <- Pi( x_i + alpha * steepest( grad_i + c r_i ) ),   K_ij = exp(-|x_i - x_j|^2 / 2h^2)
    blob:  r_i = 1/M sum_j K_ij ( grad_j - (x_i - x_j) / h^2 ),            c = 1.1
    dgf:   r_i = sum_j K_ij ( 1 - |x_i - x_j|^2 / 2h^2 ) ( x_i - x_j ),    c = 0.001

    with 2h^2 = median |x_i - x_j|^2 / log M (dgf: M + 1). So what is found for a row depends on the
    rows that share its batch and have not fallen yet; a row alone meets plain PGD. Where the model
    is so sure that gradients vanish, r_i alone decides.
    """

    steps: int = hyper(200, "authors' code, k", low=1)
    step_size: float = hyper(6.7, "in units of eps / steps; authors' code: 0.01 for eps 0.3", low=0)
    flow: str = hyper("blob", "sec. 4; the two have the same rates", choices=("blob", "dgf"))
    weight: float = hyper(1.0, "of r_i, times the authors' c", low=0)

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        space = cast(Box, target.space)
        unit = torch.as_tensor(space.scale, dtype=x.dtype, device=x.device)
        keep = yield Candidate(x, goal.degree(target.answer(x)))
        x, goal, budget = take(keep, x, goal, budget)
        adv = space.random(x, budget, rng)
        for _ in range(self.steps):
            gradient = target.gradient(adv, goal.loss)
            keep = yield Candidate(adv, goal.degree(target.decode(gradient.raw)))
            x, adv, goal, budget, grad = take(keep, x, adv, goal, budget, gradient.wrt_input)
            # all of it in units of change, in which a table's columns are alike
            flow = self._flow((adv / unit).flatten(1), (unit * grad).flatten(1)).view_as(adv)
            alpha = self.step_size / self.steps * budget.rows(x)
            way = space.steepest(grad + flow / unit, adv, budget)
            adv = space.project(adv + alpha * way, x, budget)
        yield Candidate(adv, goal.degree(target.answer(adv)))

    def _flow(self, x: Tensor, grad: Tensor) -> Tensor:
        """The term c r_i of particles (M, D)."""
        m, c = len(x), self.weight * AUTHORS[self.flow]
        if m < 2 or c == 0:
            return torch.zeros_like(x)
        squares = torch.cdist(x, x).square()
        log = math.log(m) if self.flow == "blob" else math.log(m + 1)
        # the median with the zeros of the diagonal, as the authors take it
        width = (squares.flatten().quantile(0.5) / log).clamp(min=balls.TINY)  # 2 h^2
        kernel = (-squares / width).exp()
        if self.flow == "blob":
            return c / m * (kernel @ grad - _apart(x, kernel) / (width / 2))
        return c * _apart(x, kernel * (1 - squares / width))


def _apart(x: Tensor, weight: Tensor) -> Tensor:
    """sum_j weight_ij (x_i - x_j)."""
    return weight.sum(1, keepdim=True) * x - weight @ x
