"""Primal-dual proximal gradient descent attack (Matyasko & Chau 2021)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import softplus

from holdfast.core.goal import AwayFrom, Goal, of_classes
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget, of_box
from holdfast.core.target import Gradients
from holdfast.evasion.finish import Nearest, finish
from holdfast.ops import balls
from holdfast.ops.prox import prox, prox_two_thirds
from holdfast.ops.rows import take


@method(cites="matyasko2021", where="alg. 1-2")
@dataclass(frozen=True)
class PDPGD(EvasionAttack[Gradients]):
    r"""Primal-dual proximal gradient descent.

    min over delta, max over lambda: lambda_0 |delta|_p + lambda_1 softplus( -m(x + delta) )

    with the margin m. The second term descends by an Adam step of size eta_t, the first by its
    proximal operator in Adam's metric (a few inner steps). The dual variable log(lambda_1 /
    lambda_0) rises by theta_t after a miss and falls after a hit; delta uses its moving average.
    For L0 the operator is that of the 2/3 quasi-norm.
    """

    measures = ("l0", "l1", "l2", "linf")
    minimises = True

    steps: int = hyper(500, "sec. 5, 500 iterations", low=1)
    step_size: float = hyper(0.1, "released code, primal rate", low=0)
    step_fall: float = hyper(0.01, "released code, last over first primal rate", low=0)
    dual_step: float = hyper(0.1, "released code, dual rate", low=0)
    dual_fall: float = hyper(0.1, "released code, last over first dual rate", low=0)
    first_ratio: float = hyper(0.01, "released code, lambda_0 / lambda_1 at the start", low=1e-12)
    least_ratio: float = hyper(1e-6, "released code, bound of either ratio", low=1e-12)
    average: float = hyper(0.9, "released code, of the dual variables", low=0, high=1)
    inner: int = hyper(5, "released code, proximal Adam", low=1)
    final_steps: int = hyper(2, "ours: from the nearest hit to the boundary", low=0)

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        aim, box, norm = of_classes(goal), of_box(target.space), budget.norm
        low, high = box.reach(x)
        delta, mean, square = (torch.zeros_like(x) for _ in range(3))
        hits, bound = Nearest.none(x), -math.log(self.least_ratio)
        dual = torch.full_like(hits.size, -math.log(self.first_ratio))
        share = dual.sigmoid()  # of the weight that is on the second term
        for step in range(self.steps):
            adv = box.within(x + box.scaled(delta), x)
            gradient = target.gradient(adv, _missing(aim))
            margin, size = aim.margin(gradient.raw), balls.size(delta, norm)
            hits = hits.seen(delta, size, margin)
            grad = box.scaled(gradient.wrt_input)
            keep = yield Candidate(adv, aim.degree(target.decode(gradient.raw)))
            x, aim, low, high, delta, mean, square = take(
                keep, x, aim, low, high, delta, mean, square
            )
            grad, margin, hits, dual, share = take(keep, grad, margin, hits, dual, share)
            mean, square = 0.9 * mean + 0.1 * grad, 0.999 * square + 0.001 * grad.square()
            metric = (square / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8
            eta = self.step_size * self.step_fall ** (step / self.steps)
            delta = delta - eta / (1 - 0.9 ** (step + 1)) * mean / metric
            delta = torch.minimum(torch.maximum(delta, low), high)
            steepest = balls.size(metric, "linf")
            weight = (1 - share) / share * eta / steepest
            delta = self._near(delta, metric / balls.rows(steepest, x), weight, (low, high), norm)
            left = 1 - step / max(1, self.steps - 1)
            rate = self.dual_step * (self.dual_fall + (1 - self.dual_fall) * left)
            dual = (dual - rate * margin.sign()).clamp(-bound, bound)
            share = self.average * share + (1 - self.average) * dual.sigmoid()
        yield from finish(target, x, hits, aim, budget, self.final_steps, turn=True)

    def _near(
        self, delta: Tensor, metric: Tensor, weight: Tensor, room: tuple[Tensor, Tensor],
        norm: balls.Norm,
    ) -> Tensor:  # fmt: skip
        """argmin_z |z - delta|^2_metric / 2 + weight |z|_p in the box, by proximal gradient steps."""
        z = delta
        for _ in range(self.inner):
            there = z + metric * (delta - z)
            z = prox_two_thirds(there, weight) if norm == "l0" else prox(there, norm, weight)
            z = torch.minimum(torch.maximum(z, room[0]), room[1])
        return z


def _missing(aim: AwayFrom) -> Callable[[Tensor], Tensor]:
    """Softplus of what the margin lacks. Beyond the boundary it still pushes, so hits are not lost."""
    return lambda raw: softplus(-aim.margin(raw))
