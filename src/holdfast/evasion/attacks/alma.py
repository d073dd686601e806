"""Augmented Lagrangian method for adversarial attacks (Rony et al. 2021)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.goal import AwayFrom, Goal, ToClass, of_classes
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget, of_box
from holdfast.core.target import Gradients
from holdfast.evasion.finish import Nearest, finish
from holdfast.ops import balls
from holdfast.ops.losses import dlr
from holdfast.ops.rows import take

_FIRST = {"l2": 0.1, "l1": 0.5}


@method(cites="rony2021", where="alg. 1-2, eq. 8; penalty P2, as in the authors' code")
@dataclass(frozen=True)
class ALMA(EvasionAttack[Gradients]):
    r"""Augmented Lagrangian.

    min over delta: |delta|_p + P(y, rho, mu), with y the difference of logits ratio, negative once
    the goal is reached, and the penalty-Lagrangian function

    P(y) = mu y + mu rho y^2 + rho^2 y^3 / 6 for y >= 0, mu y / (1 - rho y) else

    mu <- alpha mu + (1 - alpha) dP/dy; rho grows by gamma every `check` steps in which no hit was
    found and y fell by less than a share of 1 - tau. delta descends by RMSProp with momentum; its
    rate is such that the first step has a given size, and falls from the first hit on. With two
    classes the difference of logits is divided by its first value, as there is no ratio.
    """

    measures = ("l2", "l1")
    minimises = True

    steps: int = hyper(1000, "sec. 4.3, ALMA 1000", low=1)
    first_distance: float = hyper(0.0, "sec. 4.3, epsilon; 0 = 0.1 for l2, 0.5 for l1", low=0)
    last_rate: float = hyper(0.01, "sec. 3.3, last over first rate", low=0)
    check: int = hyper(10, "sec. 4.3, M", low=1)
    tau: float = hyper(0.95, "sec. 4.3", low=0, high=1)
    gamma: float = hyper(1.2, "sec. 4.3", low=1)
    alpha: float = hyper(0.9, "sec. 4.3", low=0, high=1)
    final_steps: int = hyper(2, "ours: from the nearest hit to the boundary", low=0)

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        aim, box, norm = of_classes(goal), of_box(target.space), budget.norm
        low, high = box.reach(x)
        delta, square, momentum = torch.zeros_like(x), torch.ones_like(x), torch.zeros_like(x)
        hits = Nearest.none(x)
        mu, rho, rate, scale = (torch.ones_like(hits.size) for _ in range(4))
        before, found = mu, torch.full_like(mu, self.steps)
        for step in range(self.steps):
            adv = box.within(x + box.scaled(delta), x)
            ratio = _ratio(aim)
            gradient = target.gradient(adv, ratio)
            y, margin = ratio(gradient.raw), aim.margin(gradient.raw)
            if step == 0 and gradient.raw.shape[1] == 2:  # no third score to divide by
                scale = y.abs().clamp(min=balls.TINY)
            y = y / scale
            hits = hits.seen(delta, balls.size(delta, norm), margin)
            grad = box.scaled(gradient.wrt_input) / balls.rows(scale, x)
            keep = yield Candidate(adv, aim.degree(target.decode(gradient.raw)))
            x, aim, low, high, delta, square, momentum, grad, y = take(
                keep, x, aim, low, high, delta, square, momentum, grad, y
            )
            hits, mu, rho, rate, before, found, scale = take(
                keep, hits, mu, rho, rate, before, found, scale
            )
            hit = hits.size.isfinite()
            found = torch.where(hit, found.clamp(max=step), found)
            if step and (step + 1) % self.check == 0:
                stuck = ~hit & (y >= self.tau * before)
                rho = torch.where(stuck, self.gamma * rho, rho)
            if step == 0 or (step + 1) % self.check == 0:
                before = y
            if step:
                mu = self.alpha * mu + (1 - self.alpha) * _slope(y, rho, mu)
                mu = mu.clamp(1e-6, 1e12)
            grad = balls.rows(_slope(y, rho, mu), x) * grad + _away(delta, norm)
            if step == 0:
                rate = _first_rate(grad, low, high, norm, self.first_distance or _FIRST[norm])
            share = (step - found).clamp(min=0) / (self.steps - found).clamp(min=1)
            square = self.alpha * square + (1 - self.alpha) * grad.square()
            momentum = self.alpha * momentum + grad / (square.sqrt() + 1e-8)
            delta = delta - balls.rows(rate * self.last_rate**share, x) * momentum
            delta = torch.minimum(torch.maximum(delta, low), high)
        yield from finish(target, x, hits, aim, budget, self.final_steps, turn=True)


def _ratio(aim: AwayFrom) -> Callable[[Tensor], Tensor]:
    """Difference of logits ratio, negative exactly when the goal is reached."""
    sign = 1 if isinstance(aim, ToClass) else -1
    return lambda raw: sign * dlr(raw, aim.labels)


def _slope(y: Tensor, rho: Tensor, mu: Tensor) -> Tensor:
    """dP/dy of the penalty P2."""
    above = mu * (1 + 2 * rho * y) + (rho * y).square() / 2
    return torch.where(y >= 0, above, mu * (1 - rho * y.clamp(max=0)).pow(-2))


def _away(delta: Tensor, norm: balls.Norm) -> Tensor:
    """Gradient of the norm; zero where nothing is changed."""
    return delta.sign() if norm == "l1" else balls.steepest(delta, "l2")


def _first_rate(grad: Tensor, low: Tensor, high: Tensor, norm: balls.Norm, wanted: float) -> Tensor:
    """(N,) the rate at which a plain step along `grad`, clipped to the box, has norm `wanted`."""
    least = wanted / balls.size(grad, norm).clamp(min=balls.TINY)
    a, b = torch.zeros_like(least), torch.full_like(least, 20.0)  # doublings of the unclipped rate
    for _ in range(24):
        middle = (a + b) / 2
        step = -balls.rows(least * 2**middle, grad) * grad
        short = balls.size(torch.minimum(torch.maximum(step, low), high), norm) < wanted
        a, b = torch.where(short, middle, a), torch.where(short, b, middle)
    return torch.where(b < 20, least * 2**b, least)
