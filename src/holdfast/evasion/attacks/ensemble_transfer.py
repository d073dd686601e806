"""Transfer from an ensemble of surrogates (Liu et al. 2017)."""

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Generator, Tensor

from holdfast.core.goal import Goal
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Box, Budget
from holdfast.core.target import Gradients
from holdfast.ops.rows import take
from holdfast.ops.transfer import accumulated


@method(cites="liu2017", where="eq. 6; Dong et al. 2018, sec. 3.3, alg. 2")
@dataclass(frozen=True)
class EnsembleTransfer(EvasionAttack[Gradients]):
    r"""Transfer from an ensemble.

    g_{t+1} = decay * g_t + grad L(x_t, y) / |grad L(x_t, y)|_1
    x_{t+1} = Pi_{B(x, eps)} ( x_t + eps / steps * steepest( g_{t+1} ) )

    losses:         L = 1/K sum_k J(z_k(x), y)            (Tramer et al. 2018 take them in turn)
    logits:         L = J(1/K sum_k z_k(x), y)            (Dong et al. 2018)
    probabilities:  L = -log( 1/K sum_k softmax(z_k(x)) )_y   (Liu et al. 2017)

    with the scores z_k of K surrogates, which the runner supplies and fuses. What misleads all of
    them is likely to mislead the target, which is asked about the first and the last input only.
    """

    transfers: ClassVar[bool] = True

    fusion: str = hyper(
        "logits", "Dong et al. 2018, sec. 4.3.1: the best of the three",
        choices=("losses", "logits", "probabilities"),
    )  # fmt: skip
    surrogates: int = hyper(
        3, "sec. 5.1: four others; ours: one less, where no peers are given", low=1
    )
    steps: int = hyper(10, "Dong et al. 2018, sec. 4.1", low=1)
    decay: float = hyper(1.0, "Dong et al. 2018, sec. 4.1", low=0)

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        space = cast(Box, target.space)
        keep = yield Candidate(x, goal.degree(target.answer(x)))
        x, goal, budget = take(keep, x, goal, budget)
        unit = torch.as_tensor(space.scale, dtype=x.dtype, device=x.device)
        adv, momentum = x, torch.zeros_like(x)
        for _ in range(self.steps):
            grad = target.gradient(adv, goal.loss).wrt_input
            momentum = accumulated(momentum, grad, self.decay, unit)
            way = budget.rows(x) / self.steps * space.steepest(momentum, adv, budget)
            adv = space.project(adv + way, x, budget)
        yield Candidate(adv, goal.degree(target.answer(adv)))
