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
    a tenth do.
    """

    measures = ("l2",)
    minimises = True

    steps: int = hyper(25_000, "authors' code", low=1)
    turn: float = hyper(0.1, "ours: authors' code has 0.01, which is slow at first", low=0)
    pull: float = hyper(0.01, "authors' code, source_step", low=0)
    adapt: float = hyper(1.5, "authors' code, step_adaptation", low=1)
    check_every: int = hyper(10, "authors' code, update_stats_every_k", low=1)
    turns_kept: int = hyper(10, "ours: adapts after 100 steps; authors' code keeps 100", low=1)
    pulls_kept: int = hyper(10, "ours: likewise; authors' code keeps 30", low=1)
    init_trials: int = hyper(100, "ours: guesses that failed so often keep failing", low=1)

    def run(self, target: Answers, x: Tensor, goal: Goal, budget: Budget, rng: Generator) -> Search:
        hunt = yield from begin(target, x, goal, budget, rng, self.init_trials)
        adv = hunt.edge.search(hunt.x, hunt.adv, hunt.rows)
        turn, pull = (adv.new_full((len(adv),), v) for v in (self.turn, self.pull))
        turned = adv.new_full((len(adv), self.turns_kept), torch.nan)
        pulled = adv.new_full((len(adv), self.pulls_kept), torch.nan)
        for k in range(self.steps):
            adv, turn, pull, turned, pulled = yield from hunt.show(adv, turn, pull, turned, pulled)
            if not len(adv):
                return
            sphere, point = self.propose(hunt, adv, turn, pull, rng)
            if k % self.check_every:
                hit = hunt.edge.reached(point, hunt.rows)
            else:
                both = hunt.edge.reached(torch.cat([sphere, point]), hunt.rows.repeat(2))
                held, hit = both.chunk(2)
                turned = _shift(turned, held)
                pulled = _shift(pulled, hit)
                factor = self._factor(turned, 0.2, 0.5)
                turned = turned.masked_fill((factor != 1).view(-1, 1), torch.nan)
                turn, pull = turn * factor, pull * factor
                factor = self._factor(pulled, 0.1, 0.25)
                pulled = pulled.masked_fill((factor != 1).view(-1, 1), torch.nan)
                pull = pull * factor
            better = hit & (hunt.distance(point) < hunt.distance(adv))
            adv = torch.where(balls.rows(better, adv) > 0, point, adv)
        yield hunt.candidate(adv)

    def propose(
        self, hunt: Hunt, adv: Tensor, turn: Tensor, pull: Tensor, rng: Generator
    ) -> tuple[Tensor, Tensor]:
        """The point on the sphere around x, and the one nearer to x."""
        far = hunt.distance(adv)
        away = balls.steepest(adv - hunt.x, "l2")
        eta = hunt.edge.noise(adv, rng)
        eta = eta - balls.rows((eta * away).flatten(1).sum(1), eta) * away
        eta = balls.rows(turn * far, eta) * balls.steepest(eta, "l2")
        moved = (adv - hunt.x + eta) / balls.rows((1 + turn**2).sqrt(), eta)
        sphere = hunt.edge.within(hunt.x + moved, hunt.rows)
        # clamping brings the point nearer, which counts as a part of the pull
        size = hunt.distance(sphere)
        less = (pull * far + size - far).clamp(min=0) / size.clamp(min=balls.TINY)
        point = sphere + balls.rows(less.clamp(max=1), eta) * (hunt.x - sphere)
        return sphere, hunt.edge.within(point, hunt.rows)

    def _factor(self, won: Tensor, low: float, high: float) -> Tensor:
        """What the steps of each row change by, once its window is full."""
        full, rate = ~won.isnan().any(1), won.nanmean(1)
        grow, shrink = full & (rate > high), full & (rate < low)
        return (
            torch.ones_like(rate).masked_fill(grow, self.adapt).masked_fill(shrink, 1 / self.adapt)
        )


def _shift(window: Tensor, new: Tensor) -> Tensor:
    """The window (M, L) with its oldest entry dropped for `new` (M,)."""
    return torch.cat([window[:, 1:], new.to(window.dtype).view(-1, 1)], 1)
