"""Sigma-zero attack on few features (Cina et al. 2025)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.goal import AwayFrom, Goal, of_classes
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget, of_box
from holdfast.core.target import Gradients
from holdfast.evasion.finish import Nearest
from holdfast.ops import balls
from holdfast.ops.ascent import cosine
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

    Works towards a wanted class too, by its margin. In the paper eta falls by a half cosine to a
    tenth; below tau a step from zero is undone at once, so that near the end no feature can come in.
    Ours keeps eta for half of the steps, then begins anew from the nearest hit, with eta / 2 and
    with tau and Adam as at first, every `restart` steps; with 0 it is the paper's.
    """

    measures = ("l0",)
    minimises = True

    steps: int = hyper(1000, "sec. 3.1, N = 1000", low=1)
    step_size: float = hyper(1.0, "sec. 3.1, eta_0", low=0)
    sigma: float = hyper(1e-3, "sec. 3.1", low=1e-12)
    threshold: float = hyper(0.3, "sec. 3.1, tau_0", low=0)
    adjustment: float = hyper(0.01, "sec. 3.1, t", low=0)
    restart: int = hyper(160, "ours; the paper has none", low=0)

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        aim, box = of_classes(goal), of_box(target.space)
        low, high = box.reach(x)
        delta, hits, half = torch.zeros_like(x), Nearest.none(x), self.steps // 2
        last = max(half + 1, self.steps - self.restart // 2)  # no round is shorter than that
        anew = {0, *(range(half, last, self.restart) if self.restart else ())}
        for step in range(self.steps):
            if step in anew:
                delta = torch.where(balls.rows(hits.size.isfinite(), x) > 0, hits.delta, delta)
                mean, square, age = torch.zeros_like(x), torch.zeros_like(x), 0
                tau = torch.full_like(hits.size, self.threshold)
            adv = box.within(x + box.scaled(delta), x)
            gradient = target.gradient(adv, _missing(aim))
            margin = aim.margin(gradient.raw)
            hits = hits.seen(delta, balls.size(delta, "l0"), margin)
            grad = box.scaled(gradient.wrt_input) + self._sparsity(delta)
            keep = yield Candidate(adv, aim.degree(target.decode(gradient.raw)))
            x, aim, low, high, delta, mean, square = take(
                keep, x, aim, low, high, delta, mean, square
            )
            grad, margin, hits, tau = take(keep, grad, margin, hits, tau)
            grad = grad / balls.rows(balls.size(grad, "linf").clamp(min=balls.TINY), x)
            mean, square = 0.9 * mean + 0.1 * grad, 0.999 * square + 0.001 * grad.square()
            age, eta = age + 1, self._rate(step)
            spread = (square / (1 - 0.999**age)).sqrt() + 1e-8
            delta = delta - eta / (1 - 0.9**age) * mean / spread
            delta = torch.minimum(torch.maximum(delta, low), high)
            way = torch.where(margin > 0, self.adjustment, -self.adjustment)
            tau = (tau + way * eta).clamp(0, 1)
            delta = delta.masked_fill(delta.abs() < balls.rows(tau, x), 0)

    def _rate(self, step: int) -> float:
        """Step size, eta."""
        if self.restart:
            return self.step_size if step < max(1, self.steps // 2) else self.step_size / 2
        return self.step_size * (0.1 + 0.9 * cosine(step / self.steps))

    def _sparsity(self, delta: Tensor) -> Tensor:
        """Gradient of the smooth count of changed features, divided by their number."""
        square = delta.square()
        return 2 * self.sigma * delta / (square + self.sigma).square() / max(1, delta[:1].numel())


def _missing(aim: AwayFrom) -> Callable[[Tensor], Tensor]:
    """What the margin lacks; zero once the goal is reached."""
    return lambda raw: -aim.margin(raw).clamp(max=0)
