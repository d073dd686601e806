"""Fast minimum-norm attack (Pintor et al. 2021)."""

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

_DUAL: dict[str, balls.Norm] = {"linf": "l1", "l2": "l2", "l1": "linf", "l0": "l2"}


@method(cites="pintor2021", where="alg. 1, eq. 4-7")
@dataclass(frozen=True)
class FMN(EvasionAttack[Gradients]):
    r"""Fast minimum-norm.

    With the margin m and its gradient g at x + delta_t,

    eps_{t+1} = |delta_t| + |m| / |g|_q             before the first hit
    eps_{t+1} = min( (1 - gamma_t) eps_t, best )    after a hit
    eps_{t+1} = (1 + gamma_t) eps_t                 after a miss
    delta_{t+1} = Pi_{eps_{t+1}} ( delta_t + alpha_t g / |g|_2 )

    For L0, eps counts features and moves by at least one. alpha and gamma fall by a half cosine.
    The projection is the nearest point of the ball and the box together.
    """

    measures = ("l0", "l1", "l2", "linf")
    minimises = True

    steps: int = hyper(1000, "sec. 3.1, up to 1000 queries", low=1)
    step_size: float = hyper(1.0, "sec. 3.1, alpha_0", low=0)
    last_step: float = hyper(0.01, "released code: alpha_0 / 100", low=0)
    gamma: float = hyper(0.05, "sec. 3.1, gamma_0", low=0, high=1)
    last_gamma: float = hyper(0.001, "released code", low=0, high=1)
    final_steps: int = hyper(
        2, "ours: towards the clean input, for l0 and l1 by linear models", low=0
    )

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        aim, box, norm = of_classes(goal), of_box(target.space), budget.norm
        low, high = box.reach(x)
        worst = balls.size(torch.maximum(-low, high), norm)
        delta, hits = torch.zeros_like(x), Nearest.none(x)
        eps = torch.zeros_like(worst)
        for step in range(self.steps):
            adv = box.within(x + box.scaled(delta), x)
            gradient = target.gradient(adv, aim.margin)
            margin, size = aim.margin(gradient.raw), balls.size(delta, norm)
            hits = hits.seen(delta, size, margin)
            grad = box.scaled(gradient.wrt_input)
            keep = yield Candidate(adv, aim.degree(target.decode(gradient.raw)))
            x, aim, worst, eps, delta, grad = take(keep, x, aim, worst, eps, delta, grad)
            margin, hits = take(keep, margin, hits)
            gamma = self.last_gamma + (self.gamma - self.last_gamma) * cosine(step / self.steps)
            alpha = self.last_step + (self.step_size - self.last_step) * cosine(step / self.steps)
            eps = torch.minimum(
                self._radius(eps, delta, grad, margin, hits.size, gamma, norm), worst
            )
            moved = x + box.scaled(delta + alpha * balls.steepest(grad, "l2"))
            delta = box.units(box.project(moved, x, Budget(budget.measure, eps)) - x)
        sparse = norm in ("l0", "l1")
        yield from finish(target, x, hits, aim, budget, self.final_steps, turn=sparse)

    def _radius(
        self, eps: Tensor, delta: Tensor, grad: Tensor, margin: Tensor, least: Tensor,
        gamma: float, norm: balls.Norm,
    ) -> Tensor:  # fmt: skip
        """Radius of the next ball, (N,)."""
        hit = margin > 0
        if norm == "l0":
            fewer = torch.minimum(torch.minimum(eps - 1, (eps * (1 - gamma)).floor()), least)
            return torch.where(
                hit, fewer, torch.maximum(eps + 1, (eps * (1 + gamma)).floor())
            ).clamp(min=1)
        away = margin.abs() / balls.size(grad, _DUAL[norm]).clamp(min=balls.TINY)
        # growing at least by gamma: where rivals take turns, the linear estimate can stand still
        seen = torch.maximum(balls.size(delta, norm) + away, eps * (1 + gamma))
        missed = torch.where(least.isfinite(), eps * (1 + gamma), seen)
        return torch.where(hit, torch.minimum(eps * (1 - gamma), least), missed)
