"""Trust region attack (Yao et al. 2019)."""

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
from holdfast.ops.losses import rivals
from holdfast.ops.rows import put, take

_WIDEST = {"linf": 0.01, "l2": 0.05}
"""Released code: largest radius; the smallest is a hundredth of it."""


@method(cites="yao2019", where="alg. 1, eq. 5-9, adaptive")
@dataclass(frozen=True)
class TrustRegion(EvasionAttack[Gradients]):
    r"""Trust region attack.

    With g the gradient of the gap between the scores of the nearest rival and of the own class,

    delta_{t+1} = delta_t + overshoot * min( |gap| / |g|_q, radius_t ) * steepest(g)
    rho = (gap_{t+1} - gap_t) / <g, delta_{t+1} - delta_t>
    radius grows by `factor` where rho > 0.9, and shrinks by it where rho < 0.5

    The rival is chosen once, by the least linear distance, and a row rests after its first hit.
    The gap after a step comes with the next gradient, one forward pass instead of two.
    """

    measures = ("l2", "linf")
    minimises = True

    steps: int = hyper(100, "released code, iterations", low=1)
    radius: float = hyper(0.001, "released code, eps at the start", low=0)
    classes: int = hyper(9, "released code, rivals looked at", low=1)
    factor: float = hyper(1.2, "released code", low=1)
    overshoot: float = hyper(1.02, "released code", low=1)
    final_steps: int = hyper(3, "ours: from the hit to the boundary", low=0)

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        aim, box, norm = of_classes(goal), of_box(target.space), budget.norm
        low, high = box.reach(x)
        delta, hits = torch.zeros_like(x), Nearest.none(x)
        first = target.gradient(x, _gaps(aim, self.classes))
        slopes, gaps = box.scaled(first.wrt_input), _gaps(aim, self.classes)(first.raw)
        away = balls.size(slopes.flatten(0, 1), balls.DUAL[norm]).view_as(gaps)
        near = (gaps.abs() / away.clamp(min=balls.TINY)).argmin(1)
        row = torch.arange(len(x), device=x.device)
        slope, gap = slopes[row, near], gaps[row, near]
        rival = rivals(first.raw, aim.labels, self.classes)[row, near * (gaps.shape[1] > 1)]
        radius, raw = torch.full_like(gap, self.radius), first.raw
        for step in range(self.steps + 1):
            hits = hits.seen(delta, balls.size(delta, norm), aim.margin(raw))
            adv = box.within(x + box.scaled(delta), x)
            keep = yield Candidate(adv, aim.degree(target.decode(raw)))
            x, aim, low, high, delta, hits = take(keep, x, aim, low, high, delta, hits)
            slope, gap, rival, radius, raw = take(keep, slope, gap, rival, radius, raw)
            left = (aim.margin(raw) <= 0).nonzero().flatten()
            if step == self.steps or not len(left):
                break
            length = gap.abs() / balls.size(slope, balls.DUAL[norm]).clamp(min=balls.TINY)
            length = self.overshoot * (torch.minimum(length, radius) + 1e-4)
            moved = delta + balls.rows(length, x) * balls.steepest(slope, norm)
            moved = torch.minimum(torch.maximum(moved, low), high)
            gain = (slope * (moved - delta)).flatten(1).sum(1)
            delta = put(delta, left, moved[left])
            x_left, aim_left, rival_left, old = take(left, x, aim, rival, gap)
            loss = _gap_to(aim_left, rival_left)
            adv = box.within(x_left + box.scaled(delta[left]), x_left)
            gradient = target.gradient(adv, loss)
            raw, new = put(raw, left, gradient.raw), loss(gradient.raw)
            slope = put(slope, left, box.scaled(gradient.wrt_input))
            gap = put(gap, left, new)
            radius = put(radius, left, self._radius(radius[left], (new - old) / gain[left], norm))
        yield from finish(target, x, hits, aim, budget, self.final_steps, turn=True)

    def _radius(self, radius: Tensor, ratio: Tensor, norm: balls.Norm) -> Tensor:
        """Wider where the linear model held, narrower where it did not."""
        wider = torch.where(ratio > 0.9, radius * self.factor, radius)
        wider = torch.where(ratio < 0.5, radius / self.factor, wider)
        return wider.clamp(_WIDEST[norm] / 100, _WIDEST[norm])


def _gaps(aim: AwayFrom, count: int) -> Callable[[Tensor], Tensor]:
    """(N, C) scores of the best `count` rivals minus the label's; a wanted class has one gap."""

    def gaps(raw: Tensor) -> Tensor:
        if isinstance(aim, ToClass):
            return aim.margin(raw).unsqueeze(1)
        others = rivals(raw, aim.labels, count)
        return raw.gather(1, others) - raw.gather(1, aim.labels.unsqueeze(1))

    return gaps


def _gap_to(aim: AwayFrom, rival: Tensor) -> Callable[[Tensor], Tensor]:
    """(N,) score of the chosen rival minus the label's."""

    def gap(raw: Tensor) -> Tensor:
        if isinstance(aim, ToClass):
            return aim.margin(raw)
        pair = torch.stack([rival, aim.labels], 1)
        return raw.gather(1, pair)[:, 0] - raw.gather(1, pair)[:, 1]

    return gap
