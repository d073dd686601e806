"""Square attack (Andriushchenko et al. 2020)."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.goal import Goal
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget
from holdfast.core.target import Scores
from holdfast.evasion import windows
from holdfast.evasion.scored import margin
from holdfast.ops import squares
from holdfast.ops.estimates import AT_ONCE
from holdfast.ops.rows import take

RAMP = 16
"""A row is asked about at most one part in so many of its queries before it may leave."""


@method(cites="andriushchenko2020", where="alg. 1, 2 and 3; L1 as in the authors' code")
@dataclass(frozen=True)
class Square(EvasionAttack[Scores]):
    r"""Square attack.

    A random search: one query per proposal, which is kept where the loss grew. The window covers a
    share p of the pixels, which is halved at fixed moments of the run.

    linf:  adv = Pi( adv + 2 eps s_c ) within the window, s_c = -1 or 1 per channel
    l2:    the mass of a second window moves into the first, whose new shape is
           old / |old| + s_c (bump - bump); the whole is scaled to eps
    l1:    the same with L1 masses and a steeper bump, projected on ball and box

    It starts from stripes of +-eps (linf) or tiles of bumps. The loss is the margin, or the
    log-probability of the wanted class. Every row has windows of its own, which also reach the last
    row and column. In linf a sign that would change nothing is turned round, as in the authors'
    first code, and every place is visited once before any is visited again.

    Up to `at_once` proposals change the same point and are asked about in one pass. The best is
    kept; what the other good ones change is a proposal of the next pass, made together.
    """

    measures = ("linf", "l2", "l1")

    steps: int = hyper(5000, "AutoAttack, n_queries", low=1)
    p_init: float = hyper(0.8, "AutoAttack, p_init", low=0, high=1)
    resc_schedule: bool = hyper(True, "authors' code: moments scale with the number of steps")
    restarts: int = hyper(1, "AutoAttack, n_restarts", low=1)
    at_once: int = hyper(16, "ours: a seventh of the passes; 1 in the paper", low=1)

    def run(self, target: Scores, x: Tensor, goal: Goal, budget: Budget, rng: Generator) -> Search:
        keep = yield Candidate(x, goal.degree(target.answer(x)))
        x, goal, budget = take(keep, x, goal, budget)
        for _ in range(self.restarts):
            ball = windows.ball(target, x, goal, budget, rng)
            at, best = ball.first(rng), x.new_full((len(x),), -torch.inf)
            trial, step = at.unsqueeze(1), -1  # the first point belongs to no step
            while True:
                (n, count), row = trial.shape[:2], torch.arange(len(x), device=x.device)
                points, aim = ball.points(trial), goal.take(row.repeat_interleave(count))
                raw = target.scores(points.flatten(0, 1))
                loss = margin(aim, raw).view(n, count)
                degree = aim.degree(target.decode(raw)).view(n, count)
                reached = degree.amax(1)
                top = loss.masked_fill(degree < reached.view(-1, 1), -torch.inf).argmax(1)
                won, before, gained = loss > best.view(-1, 1), at, loss[row, top] > best
                at = torch.where(_rows(gained, at), trial[row, top], at)
                best = torch.maximum(loss[row, top], best)
                won[row, top] = False
                more, some = ball.together(before, at, trial, won), won.any(1)
                step += count
                keep = yield Candidate(points[row, top], reached)
                x, goal, budget, ball, at, best, more, some = take(
                    keep, x, goal, budget, ball, at, best, more, some
                )
                if step == self.steps:
                    break
                count = min(self.at_once, 1 + step // RAMP, self.steps - step)
                count = min(count, max(1, AT_ONCE // max(1, len(x))))
                trial = ball.proposals(at, self.share(step), step, count, rng)
                trial[:, 0] = torch.where(_rows(some, more), more, trial[:, 0])

    def share(self, step: int) -> float:
        """Share of the pixels that a step changes."""
        return squares.share(self.p_init, step, self.steps if self.resc_schedule else 10_000)


def _rows(mask: Tensor, like: Tensor) -> Tensor:
    """A mask (N,) shaped so that it broadcasts over `like`."""
    return mask.view(-1, *[1] * (like.ndim - 1))
