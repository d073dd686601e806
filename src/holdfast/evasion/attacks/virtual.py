"""Virtual adversarial method (Miyato et al. 2018)."""

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


@method(cites="miyato2018", where="alg. 1; sec. 3.3")
@dataclass(frozen=True)
class VirtualAdversarial(EvasionAttack[Gradients]):
    r"""Virtual adversarial method.

    KL(f(x) || f(x + r)) has no first-order term at r = 0, so its fastest growth is along the top
    eigenvector of its Hessian H, found without labels by power iteration on finite differences:

    d <- g / |g|_2,   g = d/dr KL(f(x) || f(x + r)) at r = xi d,   g = xi H d + O(xi^2)
    r  = +eps d or -eps d, whichever reaches the goal

    The second-order term is even in r, so both signs are proposed. For Linf the sign of d is used.
    All of it in the box's units of change, in which a table's columns are alike.
    """

    power_iterations: int = hyper(1, "sec. 3.3: one iteration sufficed", low=1)
    xi: float = hyper(
        1e-3, "ours: 1e-6 (authors' code) drowns in single precision; 1e-3 is exact to 4 digits",
        low=1e-8,
    )  # fmt: skip

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        space = cast(Box, target.space)
        unit = torch.as_tensor(space.scale, dtype=x.dtype, device=x.device)
        raw = target.scores(x)
        clean = raw.double().log_softmax(1)
        keep = yield Candidate(x, goal.degree(target.decode(raw)))
        x, goal, budget, clean = take(keep, x, goal, budget, clean)

        def divergence(raw: Tensor) -> Tensor:
            # in double precision: a confident model's rare classes vanish in a single one
            return torch.sum(clean.exp() * (clean - raw.double().log_softmax(1)), 1)

        noise = torch.empty_like(x).normal_(generator=rng)
        if space.editable is not None:
            noise = noise * space.editable.to(x.device)
        d = balls.steepest(noise, "l2")
        for _ in range(self.power_iterations):
            grad = unit * target.gradient(x + self.xi * unit * d, divergence).wrt_input
            # scaled first, as squares of tiny gradients underflow; a flat model keeps its random d
            largest = balls.rows(balls.size(grad, "linf"), d)
            d = torch.where(largest > 0, balls.steepest(grad / largest, "l2"), d)
        for sign in (1.0, -1.0):
            r = sign * budget.rows(x) * unit * balls.steepest(d, budget.norm)
            adv = space.project(x + r, x, budget)
            keep = yield Candidate(adv, goal.degree(target.answer(adv)))
            x, d, goal, budget = take(keep, x, d, goal, budget)
