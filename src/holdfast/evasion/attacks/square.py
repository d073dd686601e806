"""Square attack (Andriushchenko et al. 2020)."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Generator, Tensor

from holdfast.core.goal import Goal
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Box, Budget
from holdfast.core.target import Scores
from holdfast.evasion.scored import free, margin, unit
from holdfast.ops import balls, squares
from holdfast.ops.rows import take


@method(cites="andriushchenko2020", where="alg. 1, 2 and 3; L1 as in the authors' code")
@dataclass(frozen=True)
class Square(EvasionAttack[Scores]):
    r"""Square attack.

    A random search: one proposal and one query per step, kept where the loss grew. The window
    covers a share p of the pixels, which is halved at fixed moments of the run.

    linf:  adv = Pi( adv + 2 eps s_c ) within the window, s_c = -1 or 1 per channel
    l2:    the mass of a second window moves into the first, whose new shape is
           old / |old| + s_c (bump - bump); the whole is scaled to eps
    l1:    the same with L1 masses and a steeper bump, projected on ball and box

    It starts from stripes of +-eps (linf) or tiles of bumps. The loss is the margin, or the
    log-probability of the wanted class. Every row has windows of its own, which also reach the last
    row and column, as they do not in the authors' code. Inputs that are no images are a line of
    features, and windows stretches of it.
    """

    measures = ("linf", "l2", "l1")

    steps: int = hyper(5000, "AutoAttack, n_queries", low=1)
    p_init: float = hyper(0.8, "AutoAttack, p_init", low=0, high=1)
    resc_schedule: bool = hyper(True, "authors' code: moments scale with the number of steps")
    restarts: int = hyper(1, "AutoAttack, n_restarts", low=1)

    def run(self, target: Scores, x: Tensor, goal: Goal, budget: Budget, rng: Generator) -> Search:
        keep = yield Candidate(x, goal.degree(target.answer(x)))
        x, goal, budget = take(keep, x, goal, budget)
        for _ in range(self.restarts):
            adv, trial = x, self._first(target, x, budget, rng)
            best = x.new_full((len(x),), -torch.inf)
            for step in range(self.steps + 1):
                raw = target.scores(trial)
                loss = margin(goal, raw)
                adv = torch.where(balls.rows(loss > best, adv) > 0, trial, adv)
                best = torch.maximum(loss, best)
                keep = yield Candidate(trial, goal.degree(target.decode(raw)))
                x, adv, best, goal, budget = take(keep, x, adv, best, goal, budget)
                if step < self.steps:
                    trial = self._next(target, x, adv, budget, step, rng)

    def share(self, step: int) -> float:
        """Share of the pixels that a step changes."""
        return squares.share(self.p_init, step, self.steps if self.resc_schedule else 10_000)

    def _first(self, target: Scores, x: Tensor, budget: Budget, rng: Generator) -> Tensor:
        picture, space = squares.images(x), cast(Box, target.space)
        if budget.norm == "linf":
            n, channels, _, width = picture.shape
            stripes = squares.signs((n, channels, 1, width), rng).to(x).expand_as(picture)
            delta = stripes.reshape(x.shape) * budget.rows(x)
        else:
            delta = squares.tiles(picture, budget.norm, rng).view_as(x) * free(target, x)
            if budget.norm == "l2":
                delta = _scaled(delta, budget)
        return space.project(x + unit(target, x) * delta, x, budget)

    def _next(
        self, target: Scores, x: Tensor, adv: Tensor, budget: Budget, step: int, rng: Generator
    ) -> Tensor:
        space, scale = cast(Box, target.space), unit(target, x)
        delta = squares.images((adv - x) / scale)
        n, channels, height, width = delta.shape
        pixels = self.share(step) * height * width
        if budget.norm == "linf":
            window = squares.side(pixels, height, width)
            top, left = squares.corners(n, window, height, width, rng)
            sign = squares.signs((n, channels, 1, 1), rng).to(x)
            push = (squares.mask(top, left, window, delta) * sign).reshape(x.shape)
            return space.project(adv + scale * 2 * budget.rows(x) * push, x, budget)
        window = squares.side(pixels, height, width, least=3)
        eps = torch.as_tensor(budget.eps, dtype=x.dtype, device=x.device).expand(n)
        new = squares.moved(delta, eps, window, budget.norm, rng).view_as(x) * free(target, x)
        if budget.norm == "l2":
            new = _scaled(new, budget)
        return space.project(x + scale * new, x, budget)


def _scaled(delta: Tensor, budget: Budget) -> Tensor:
    """The change at full size, as in the authors' code: clamping made it smaller."""
    return balls.steepest(delta, "l2") * budget.rows(delta)
