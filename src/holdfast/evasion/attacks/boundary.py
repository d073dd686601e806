"""Boundary attack (Brendel, Rauber and Bethge 2018)."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.goal import Goal
from holdfast.core.kinds import EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget
from holdfast.core.target import Answers
from holdfast.evasion.decisions import Hunt, begin
from holdfast.ops import balls


@method(cites="brendel2018", where="alg. 1, sec. 2.3")
@dataclass(frozen=True)
class Boundary(EvasionAttack[Answers]):
    r"""Boundary attack.

    With d = |adv - x|, every step draws eta ~ N(0, I), orthogonal to adv - x and of norm turn d, and

    sphere = x + (adv - x + eta) / sqrt(1 + turn^2)                 as far from x as adv is
    point  = sphere + pull d (x - sphere) / |x - sphere|            and a little nearer
    adv   <- point if the goal is reached there

    Every `check_every` steps the point on the sphere is asked about, too. When more than half of
    those of a row reach the goal (the boundary is flat at that scale), turn and pull grow; below a
    fifth they shrink. Likewise pull alone, when of the nearer points more than a quarter or less than
    a tenth do. `at_once` steps are drawn from one point and asked about in one pass; of those that
    reach the goal the nearest is taken.
    """

    measures = ("l2",)
    minimises = True

    steps: int = hyper(25_000, "authors' code", low=1)
    turn: float = hyper(0.2, "ours: authors' code has 0.01, which is slow at first", low=0)
    pull: float = hyper(0.01, "authors' code, source_step", low=0)
    adapt: float = hyper(1.5, "authors' code, step_adaptation", low=1)
    check_every: int = hyper(10, "authors' code, update_stats_every_k", low=1)
    turns_kept: int = hyper(10, "ours: adapts after 100 steps; authors' code keeps 100", low=1)
    pulls_kept: int = hyper(10, "ours: likewise; authors' code keeps 30", low=1)
    at_once: int = hyper(5, "ours: half the time; 1 ends some per cent nearer", low=1)
    init_trials: int = hyper(100, "ours: guesses that failed so often keep failing", low=1)

    def run(self, target: Answers, x: Tensor, goal: Goal, budget: Budget, rng: Generator) -> Search:
        hunt = yield from begin(target, x, goal, budget, rng, self.init_trials)
        adv = hunt.edge.search(hunt.x, hunt.adv, hunt.rows)
        turn, pull = (adv.new_full((len(adv),), v) for v in (self.turn, self.pull))
        turned = adv.new_full((len(adv), self.turns_kept), torch.nan)
        pulled = adv.new_full((len(adv), self.pulls_kept), torch.nan)
        step = 0
        while step < self.steps:
            adv, turn, pull, turned, pulled = yield from hunt.show(adv, turn, pull, turned, pulled)
            if not len(adv):
                return
            count = min(self.at_once, self.steps - step)
            check = step // self.check_every < (step + count) // self.check_every
            sphere, point, far = self.propose(hunt, adv, turn, pull, count, rng)
            asked = torch.cat([point, sphere[:, :1]], 1) if check else point
            row = hunt.rows.repeat_interleave(asked.shape[1])
            hit = hunt.edge.reached(asked.flatten(0, 1), row).view(len(adv), -1)
            step += count
            if check:
                turned = _shift(turned, hit[:, -1])
                factor = self._factor(turned, 0.2, 0.5)
                turned = turned.masked_fill((factor != 1).view(-1, 1), torch.nan)
                turn, pull = turn * factor, pull * factor
                hit = hit[:, :count]
                pulled = _shift(pulled, hit.to(adv.dtype).mean(1))
                factor = self._factor(pulled, 0.1, 0.25)
                pulled = pulled.masked_fill((factor != 1).view(-1, 1), torch.nan)
                pull = pull * factor
            near, best = far.masked_fill(~hit, torch.inf).min(1)
            better = near < hunt.distance(adv)
            adv = torch.where(balls.rows(better, adv) > 0, point[hunt.rows, best], adv)
        yield hunt.candidate(adv)

    def propose(
        self, hunt: Hunt, adv: Tensor, turn: Tensor, pull: Tensor, count: int, rng: Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Points (M, count, ...) on the sphere around x, those nearer to x, and their distances."""
        shape, wide = (len(adv), count, *adv.shape[1:]), (-1, 1, 1)
        way = (adv - hunt.x).flatten(1).unsqueeze(1)
        far = way.norm(dim=2, keepdim=True)
        eta = adv.new_empty(shape[1:]).normal_(generator=rng)  # rows do not mind sharing it
        if hunt.edge.free is not None:
            eta *= hunt.edge.free
        eta = eta.flatten(1)
        eta = eta - (eta @ way.mT / far.square().clamp(min=balls.TINY)) * way
        eta *= turn.view(wide) * far / eta.norm(dim=2, keepdim=True).clamp(min=balls.TINY)
        clean = hunt.x.flatten(1).unsqueeze(1)
        sphere = eta.add_(way).div_((1 + turn.view(wide) ** 2).sqrt()).add_(clean)
        owner = hunt.rows.repeat_interleave(count)
        sphere = hunt.edge.within(sphere.view(shape).flatten(0, 1), owner).view_as(eta)
        # clamping brings the point nearer, which counts as a part of the pull
        size = (sphere - clean).norm(dim=2, keepdim=True)
        less = (pull.view(wide) * far + size - far).clamp(min=0) / size.clamp(min=balls.TINY)
        less = less.clamp(max=1)
        point = torch.lerp(sphere, clean.expand_as(sphere), less)
        return sphere.view(shape), point.view(shape), (size * (1 - less)).squeeze(2)

    def _factor(self, won: Tensor, low: float, high: float) -> Tensor:
        """What the steps of each row change by, once its window is full."""
        rate = won.mean(1)  # NaN, which no limit compares with, until the window is full
        factor = torch.ones_like(rate).masked_fill_(rate > high, self.adapt)
        return factor.masked_fill_(rate < low, 1 / self.adapt)


def _shift(window: Tensor, new: Tensor) -> Tensor:
    """The window (M, L) with its oldest entry dropped for `new` (M,)."""
    return torch.cat([window[:, 1:], new.to(window.dtype).view(-1, 1)], 1)
