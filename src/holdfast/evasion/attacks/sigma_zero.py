"""Sigma-zero attack on few features (Cina et al. 2025)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.goal import AwayFrom, Goal, of_classes
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget, of_box
from holdfast.core.target import Gradients
from holdfast.ops import balls
from holdfast.ops.rows import take


@method(cites="cina2025", where="alg. 1, eq. 4-6")
@dataclass(frozen=True)
class SigmaZero(EvasionAttack[Gradients]):
    r"""Sigma-zero.

    With the margin m, negative until the goal is reached, and n features,

    loss(delta) = max(-m(x + delta), 0) + 1/n sum_i delta_i^2 / (delta_i^2 + sigma)
    delta_{t+1} = Adam step of size eta_t along grad / |grad|_inf, clipped to the box
    tau_{t+1} = tau_t + t eta_t after a hit, tau_t - t eta_t after a miss
    delta_i = 0 where |delta_i| < tau

    eta falls by a half cosine to a tenth. Works towards a wanted class too, by its margin.
    """

    measures = ("l0",)
    minimises = True

    steps: int = hyper(1000, "sec. 3.1, N = 1000", low=1)
    step_size: float = hyper(1.0, "sec. 3.1, eta_0", low=0)
    sigma: float = hyper(1e-3, "sec. 3.1", low=1e-12)
    threshold: float = hyper(0.3, "sec. 3.1, tau_0", low=0)
    adjustment: float = hyper(0.01, "sec. 3.1, t", low=0)

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        aim, box = of_classes(goal), of_box(target.space)
        low, high = box.reach(x)
        delta, mean, square = (torch.zeros_like(x) for _ in range(3))
        tau = torch.full_like(x.flatten(1).sum(1), self.threshold)
        eta = self.step_size
        for step in range(self.steps):
            adv = box.within(x + box.scaled(delta), x)
            gradient = target.gradient(adv, _missing(aim))
            hit = aim.margin(gradient.raw) > 0
            grad = box.scaled(gradient.wrt_input) + self._sparsity(delta)
            keep = yield Candidate(adv, aim.degree(target.decode(gradient.raw)))
            x, aim, low, high, delta, mean, square = take(
                keep, x, aim, low, high, delta, mean, square
            )
            grad, hit, tau = take(keep, grad, hit, tau)
            grad = grad / balls.rows(balls.size(grad, "linf").clamp(min=balls.TINY), x)
            mean, square = 0.9 * mean + 0.1 * grad, 0.999 * square + 0.001 * grad.square()
            spread = (square / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8
            delta = delta - eta / (1 - 0.9 ** (step + 1)) * mean / spread
            delta = torch.minimum(torch.maximum(delta, low), high)
            eta = self.step_size * (0.1 + 0.9 * (1 + math.cos(math.pi * step / self.steps)) / 2)
            way = torch.where(hit, self.adjustment * eta, -self.adjustment * eta)
            tau = (tau + way).clamp(0, 1)
            delta = delta.masked_fill(delta.abs() < balls.rows(tau, x), 0)

    def _sparsity(self, delta: Tensor) -> Tensor:
        """Gradient of the smooth count of changed features, divided by their number."""
        square = delta.square()
        return 2 * self.sigma * delta / (square + self.sigma).square() / max(1, delta[:1].numel())


def _missing(aim: AwayFrom) -> Callable[[Tensor], Tensor]:
    """What the margin lacks; zero once the goal is reached."""
    return lambda raw: -aim.margin(raw).clamp(max=0)
