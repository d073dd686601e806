"""Score-based random walk: the walk of Guo et al. (2019) along random directions."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.goal import Goal
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget
from holdfast.core.target import Scores
from holdfast.evasion.scored import Problem, odds
from holdfast.ops import balls
from holdfast.ops.rows import take

GROW = 1.5
"""Factor on the step after success; after failure its fourth root is taken back, so that the step
stands still where one try in five succeeds (Rechenberg's rule)."""
LEAST = 1e-3
"""Smallest step, in units of eps."""


@method(cites="guo2019", where="sec. 3, alg. 1 with random directions")
@dataclass(frozen=True)
class RandomWalk(EvasionAttack[Scores]):
    r"""Score-based random walk.

    u    = random signs of a random share of the features (linf), or a random unit vector (l2)
    adv <- Pi( adv + step eps u )   where that makes the loss grow

    The step grows by half after a success and shrinks by its fourth root after a failure. No
    structure of images, no basis and no estimate of a gradient is used: whatever claims to be more
    query-efficient must beat this walk. The loss is the log-odds against the label.
    """

    measures = ("linf", "l2")

    steps: int = hyper(5000, "ours: as many queries as the square attack", low=1)
    step_size: float = hyper(0.2, "ours: first step in units of eps", low=0)

    def run(self, target: Scores, x: Tensor, goal: Goal, budget: Budget, rng: Generator) -> Search:
        at, adv = Problem(target, x, goal, budget), x
        best, degree = at.ask(x, odds)
        keep = yield Candidate(x, degree)
        at, (adv, best) = at.take(keep), take(keep, adv, best)
        step = torch.full_like(best, self.step_size)
        for _ in range(self.steps):
            way = balls.steepest(self._draw(adv, budget.norm, rng) * at.free, budget.norm)
            trial = at.moved(adv, balls.rows(step, adv) * at.eps * way)
            loss, degree = at.ask(trial, odds)
            better = loss > best
            adv = torch.where(balls.rows(better, adv) > 0, trial, adv)
            best = torch.where(better, loss, best)
            step = torch.where(better, step * GROW, step / GROW**0.25).clamp(LEAST, 1.0)
            keep = yield Candidate(trial, degree)
            at, (adv, best, step) = at.take(keep), take(keep, adv, best, step)

    def _draw(self, like: Tensor, norm: balls.Norm, rng: Generator) -> Tensor:
        """Normal noise; for linf in a random share of the features, one of them at least."""
        noise = torch.randn(like.shape, generator=rng, device=rng.device).to(like)
        if norm != "linf":
            return noise
        share = torch.rand(len(like), generator=rng, device=rng.device).to(like)
        share = like[:1].numel() ** -share  # log-uniform between one feature and all
        place = torch.rand(like.shape, generator=rng, device=rng.device).to(like)
        share = torch.maximum(share, place.flatten(1).amin(1) if place.numel() else share)
        return noise * (place <= balls.rows(share, like))
