"""Momentum iterative fast gradient sign method (Dong et al. 2018)."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Generator, Tensor

from holdfast.core.goal import Goal
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Box, Budget
from holdfast.core.target import Gradients
from holdfast.ops.rows import take
from holdfast.ops.transfer import accumulated


@method(cites="dong2018", where="alg. 1; eq. 6, 7; eq. 9 for L2")
@dataclass(frozen=True)
class MIFGSM(EvasionAttack[Gradients]):
    r"""Momentum iterative FGSM.

    g_{t+1} = decay * g_t + grad L(f(x_t), y) / |grad L(f(x_t), y)|_1,   g_0 = 0
    x_{t+1} = Pi_{B(x, eps)} ( x_t + eps / steps * steepest( g_{t+1} ) )
    """

    measures = ("linf", "l2")

    steps: int = hyper(10, "sec. 4.1", low=1)
    decay: float = hyper(1.0, "sec. 4.1, best in fig. 1", low=0)

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        space, adv, momentum = cast(Box, target.space), x, torch.zeros_like(x)
        unit = torch.as_tensor(space.scale, dtype=x.dtype, device=x.device)
        for _ in range(self.steps):
            gradient = target.gradient(adv, goal.loss)
            keep = yield Candidate(adv, goal.degree(target.decode(gradient.raw)))
            x, adv, goal, budget, momentum, grad = take(
                keep, x, adv, goal, budget, momentum, gradient.wrt_input
            )
            momentum = accumulated(momentum, grad, self.decay, unit)
            way = budget.rows(x) / self.steps * space.steepest(momentum, adv, budget)
            adv = space.project(adv + way, x, budget)
        yield Candidate(adv, goal.degree(target.answer(adv)))
