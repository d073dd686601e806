"""Brendel-Bethge attack along the decision boundary (Brendel et al. 2019)."""

from collections.abc import Generator as Walk
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.errors import NotApplicable
from holdfast.core.goal import AwayFrom, Goal, of_classes
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget, of_box
from holdfast.core.target import Gradients
from holdfast.evasion.finish import Nearest, finish
from holdfast.ops import balls
from holdfast.ops.rows import put, take
from holdfast.ops.segments import Segments
from holdfast.ops.trust import along


@method(cites="brendel2019", where="alg. 1, eq. 2")
@dataclass(frozen=True)
class BrendelBethge(EvasionAttack[Gradients]):
    r"""Brendel-Bethge attack.

    From a misread random input on, blended with the clean one until it is at the boundary, with
    the margin m, b the moving average of its gradients, and all steps inside of the box,

    delta_{t+1} = argmin_z |z|_p with <b, z - delta_t> = c, |z - delta_t|_2 <= radius_t

    c leads back to the boundary: -(2 - overshoot) m after a hit, -overshoot m after a miss. Where
    no random input is misread, the walk begins at the clean one and first goes to the boundary.
    """

    measures = ("l2", "linf", "l1", "l0")
    minimises = True

    steps: int = hyper(1000, "released code", low=1)
    rate: float = hyper(0.1, "ours: first radius in diagonals of the box", low=0)
    decay: float = hyper(0.5, "released code, of the radius", low=0, high=1)
    decays: int = hyper(20, "released code, how often in a run", low=1)
    momentum: float = hyper(0.8, "released code, of the gradients", low=0, high=1)
    overshoot: float = hyper(1.1, "released code", low=1, high=2)
    draws: int = hyper(10, "ours: random inputs tried; released code up to 1000", low=0)
    blends: int = hyper(10, "released code, binary search steps", low=0)
    final_steps: int = hyper(2, "ours: from the nearest hit to the boundary", low=0)

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        aim, box, norm = of_classes(goal), of_box(target.space), budget.norm
        x, aim, budget, delta = yield from self._start(target, x, aim, budget, rng)
        room = box.reach(x)
        radius = self.rate * balls.size(room[1] - room[0], "l2")
        way, hits = torch.zeros_like(x), Nearest.none(x)
        for step in range(self.steps):
            adv = box.within(x + box.scaled(delta), x)
            gradient = target.gradient(adv, aim.margin)
            margin = aim.margin(gradient.raw)
            hits = hits.seen(delta, balls.size(delta, norm), margin)
            grad = box.scaled(gradient.wrt_input)
            keep = yield Candidate(adv, aim.degree(target.decode(gradient.raw)))
            x, aim, budget, delta, radius, way, hits, margin, grad = take(
                keep, x, aim, budget, delta, radius, way, hits, margin, grad
            )
            room = box.reach(x) if keep is not None else room
            way = grad if step == 0 else self.momentum * way + (1 - self.momentum) * grad
            if (step + 1) % max(1, self.steps // self.decays) == 0:
                radius = radius * self.decay
            share = torch.where(margin > 0, 2 - self.overshoot, self.overshoot)
            delta = along(delta, way, -share * margin, room, radius, norm)
        yield from finish(target, x, hits, aim, budget, self.final_steps, turn=True)

    def _start(
        self, target: Gradients, x: Tensor, aim: AwayFrom, budget: Budget, rng: Generator
    ) -> Walk[Candidate, Tensor | None, tuple[Tensor, AwayFrom, Budget, Tensor]]:
        """Changes to points near the boundary; none where no random input was misread."""
        box = of_box(target.space)
        if not all(bool(room.isfinite().all()) for room in box.reach(x)):
            raise NotApplicable(
                "needs inputs with bounds, between which it draws its first guesses"
            )
        raw = target.scores(x)
        clean, over, delta = aim.margin(raw), aim.margin(raw), torch.zeros_like(x)
        keep = yield Candidate(x, aim.degree(target.decode(raw)))
        x, aim, budget, clean, over, delta = take(keep, x, aim, budget, clean, over, delta)
        for _ in range(self.draws):
            left = (over <= 0).nonzero().flatten()
            if not len(left):
                break
            low, high = box.reach(x[left])
            noise = torch.empty_like(low).uniform_(0, 1, generator=rng)
            change = low + noise * (high - low)
            point = box.within(x[left] + box.scaled(change), x[left])
            margin = aim.take(left).margin(target.scores(point))
            hit = left[margin > 0]
            delta, over = put(delta, hit, change[margin > 0]), put(over, hit, margin[margin > 0])
            found = aim.threshold * (over > 0)
            keep = yield Candidate(box.within(x + box.scaled(delta), x), found)
            x, aim, budget, clean, over, delta = take(keep, x, aim, budget, clean, over, delta)
        line = Segments.between(clean, over)
        for _ in range(self.blends):
            adv = box.within(x + box.scaled(_blend(delta, line.probe, budget)), x)
            raw = target.scores(adv)
            line = line.told(aim.margin(raw))
            keep = yield Candidate(adv, aim.degree(target.decode(raw)))
            x, aim, budget, delta, line = take(keep, x, aim, budget, delta, line)
        return x, aim, budget, _blend(delta, line.far, budget)


def _blend(delta: Tensor, share: Tensor, budget: Budget) -> Tensor:
    """`share` of a change: for linf clipped to it, for l1 what is beyond the rest, else scaled."""
    biggest = balls.size(delta, "linf")
    if budget.norm == "linf":
        return balls.project(delta, "linf", share * biggest)
    if budget.norm == "l1":
        beyond = delta.abs() - balls.rows((1 - share) * biggest, delta)
        return delta.sign() * beyond.clamp(min=0)
    return balls.rows(share, delta) * delta
