"""Decoupled direction and norm attack (Rony et al. 2019)."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.goal import Goal, of_classes
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget, of_box
from holdfast.core.target import Gradients
from holdfast.evasion.finish import Nearest, finish
from holdfast.ops import balls
from holdfast.ops.ascent import cosine
from holdfast.ops.rows import take


@method(cites="rony2019", where="alg. 1")
@dataclass(frozen=True)
class DDN(EvasionAttack[Gradients]):
    r"""Decoupled direction and norm.

    g = grad L(f(x + delta_t), y) / |grad L|
    eps_{t+1} = (1 - gamma_t) eps_t after a hit, (1 + gamma_t) eps_t after a miss
    delta_{t+1} = eps_{t+1} (delta_t + alpha_t g) / |delta_t + alpha_t g|, clipped to the box

    alpha_t falls from one to `last_step` by a half cosine. So does gamma here, as in the fast
    minimum-norm attack; the paper's stays 0.05, too small for rows that are first hit far away and
    too large for the last digits. The last probes go along the segment from the clean input to the
    nearest hit. Inputs are not rounded to 8 bits, which the authors' code does.
    """

    measures = ("l2",)
    minimises = True

    steps: int = hyper(1000, "sec. 6, 1000 iterations", low=1)
    init_norm: float = hyper(1.0, "sec. 6", low=0)
    gamma: float = hyper(0.2, "ours; sec. 6: 0.05", low=0, high=1)
    last_gamma: float = hyper(0.01, "ours; sec. 6: 0.05", low=0, high=1)
    last_step: float = hyper(0.01, "sec. 6, step size from 1 to 0.01", low=0)
    final_steps: int = hyper(4, "ours: a hit may lie beyond the boundary", low=0)

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        aim, box = of_classes(goal), of_box(target.space)
        low, high = box.reach(x)
        worst = balls.size(torch.maximum(-low, high), "l2")
        eps = torch.minimum(torch.full_like(worst, self.init_norm), worst)
        delta, hits = torch.zeros_like(x), Nearest.none(x)
        for step in range(self.steps):
            adv = box.within(x + box.scaled(delta), x)
            gradient = target.gradient(adv, aim.loss)
            margin, size = aim.margin(gradient.raw), balls.size(delta, "l2")
            hits = hits.seen(delta, size, margin)
            grad = box.scaled(gradient.wrt_input)
            keep = yield Candidate(adv, aim.degree(target.decode(gradient.raw)))
            x, aim, low, high, worst, eps, delta, grad = take(
                keep, x, aim, low, high, worst, eps, delta, grad
            )
            margin, hits = take(keep, margin, hits)
            fall = cosine(step / self.steps)
            alpha = self.last_step + (1 - self.last_step) * fall
            gamma = self.last_gamma + (self.gamma - self.last_gamma) * fall
            delta = delta + alpha * _direction(grad, rng)
            eps = torch.minimum(eps * torch.where(margin > 0, 1 - gamma, 1 + gamma), worst)
            delta = balls.rows(eps, x) * balls.steepest(delta, "l2")
            delta = torch.minimum(torch.maximum(delta, low), high)
        yield from finish(target, x, hits, aim, budget, self.final_steps)


def _direction(grad: Tensor, rng: Generator) -> Tensor:
    """The gradient with norm one, and a random direction where there is none (released code)."""
    flat = balls.size(grad, "linf") == 0
    if not bool(flat.any()):
        return balls.steepest(grad, "l2")
    noise = torch.empty_like(grad).normal_(generator=rng)
    return balls.steepest(torch.where(balls.rows(flat, grad) > 0, noise, grad), "l2")
