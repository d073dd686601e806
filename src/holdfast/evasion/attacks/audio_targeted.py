"""Targeted attack on speech recognisers (Carlini & Wagner 2018)."""

from dataclasses import dataclass

import torch
from torch import Generator

from holdfast.core.goal import Goal
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget
from holdfast.core.target import Gradients
from holdfast.ops.rows import Ragged, take


@method(
    cites="carlini2018audio", where="min |delta|^2 + c l(x + delta, t) such that dB(delta) <= tau"
)
@dataclass(frozen=True)
class AudioTargeted(EvasionAttack[Gradients[Ragged, Ragged, Ragged], Ragged, Ragged, Ragged]):
    r"""Targeted audio adversarial examples by CTC loss.

    g       = sign( grad_delta log p_CTC(t | x + delta) )
    delta  <- clip( delta + alpha eps Adam(g), -eps, eps )

    As in the released code, Adam is fed the sign of the gradient, so that loud and silent stretches
    move alike. The paper then lowers tau again and again to find the smallest change; here the
    bound is the budget, and a security curve over budgets takes the place of that search.
    The gradient is taken at the sound as a file would hold it, so that success survives rounding.
    Success is digital only: the paper's own examples do not survive being played over the air.
    """

    measures = ("linf",)

    steps: int = hyper(1000, "released code, --iterations", low=1)
    step_size: float = hyper(0.05, "in units of eps: 100 of 2000 in the released code", low=0)
    momentum: float = hyper(0.9, "Adam's beta_1, Kingma & Ba 2015", low=0, high=1)
    decay: float = hyper(0.999, "Adam's beta_2, Kingma & Ba 2015", low=0, high=1)

    def run(
        self,
        target: Gradients[Ragged, Ragged, Ragged],
        x: Ragged,
        goal: Goal[Ragged, Ragged],
        budget: Budget,
        rng: Generator,
    ) -> Search[Ragged]:
        space, delta = target.space, torch.zeros_like(x.data)
        first, second = delta.clone(), delta.clone()
        for step in range(1, self.steps + 1):
            adv = space.project(Ragged(x.data + delta, x.length), x, budget)
            found = target.gradient(adv, goal.loss)
            keep = yield Candidate(adv, goal.degree(target.decode(found.raw)))
            x, goal, budget, grad = take(keep, x, goal, budget, found.wrt_input)
            delta, first, second = take(keep, delta, first, second)
            grad = space.steepest(grad, x, budget)
            first = self.momentum * first + (1 - self.momentum) * grad
            second = self.decay * second + (1 - self.decay) * grad.square()
            mean = first / (1 - self.momentum**step)
            spread = (second / (1 - self.decay**step)).sqrt()
            bound = budget.rows(delta)
            delta = delta + self.step_size * bound * mean / (spread + 1e-8)
            delta = torch.minimum(torch.maximum(delta, -bound), bound)
        adv = space.project(Ragged(x.data + delta, x.length), x, budget)
        yield Candidate(adv, goal.degree(target.answer(adv)))
