"""Simple black-box attack (Guo et al. 2019)."""

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Generator, Tensor

from holdfast.core.errors import NotApplicable
from holdfast.core.goal import Goal
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Box, Budget
from holdfast.core.target import Scores
from holdfast.evasion.scored import free, odds, unit
from holdfast.ops import dct
from holdfast.ops.rows import put, take

LEAST = 8
"""Frequencies per axis that are always used: an eighth of a small image would be a single one."""


@method(cites="guo2019", where="alg. 1; sec. 3.3 for the two bases")
@dataclass(frozen=True)
class SimBA(EvasionAttack[Scores]):
    r"""SimBA.

    q = the next of the orthonormal directions in random order, each used once
    adv <- adv - step q   where that makes the loss grow, else
    adv <- adv + step q   where that does

    Directions are single features (`pixel`) or cosines of low frequency (`dct`, images only). When
    all are used they are shuffled and used again, for rows to which any of them was of use. Steps
    that would leave the ball are projected onto it, and one that changes nothing costs no query, as
    its loss is known. The loss is the log-odds against the label, which order inputs as its
    probability does.
    """

    measures = ("l2", "linf")

    steps: int = hyper(10_000, "authors' code, num_iters", low=1)
    step_size: float = hyper(0.2, "sec. 4, epsilon; in units of change", low=0)
    basis: str = hyper("pixel", "sec. 3.3", choices=("pixel", "dct"))
    frequencies: float = hyper(0.125, "sec. 3.3, r = 1/8 of each axis", low=0, high=1)

    def run(self, target: Scores, x: Tensor, goal: Goal, budget: Budget, rng: Generator) -> Search:
        if self.basis == "dct" and x.ndim < 4:
            raise NotApplicable("the cosine basis is one of images; use the basis 'pixel'")
        raw = target.scores(x)
        adv, best, degree = x, odds(goal, raw), goal.degree(target.decode(raw))
        keep = yield Candidate(x, degree)
        x, adv, best, degree, goal, budget = take(keep, x, adv, best, degree, goal, budget)
        space, count, order = cast(Box, target.space), 1, None
        gained = torch.ones_like(best, dtype=torch.bool)
        for step in range(self.steps):
            if order is None or step % count == 0:
                order, count = self._order(free(target, x), len(x), rng)
                # a pass that changed nothing would only be asked again
                live, gained = gained, torch.zeros_like(gained)
                if not live.any():
                    return
            way = unit(target, x) * self.step_size * self._direction(x, order[:, step % count])
            left = live.nonzero().flatten()
            for sign in (-1, 1):
                clean, room, aim = take(left, x, budget, goal)
                trial = space.project(adv[left] + sign * way[left], clean, room)
                moved = (trial != adv[left]).flatten(1).any(1).nonzero().flatten()
                if not len(moved):
                    continue
                asked, trial, aim = take(moved, left, trial, aim)
                raw = target.scores(trial)
                loss, now = odds(aim, raw), aim.degree(target.decode(raw))
                better = (loss > best[asked]) | (now >= goal.threshold)
                won = asked[better]
                adv, best = put(adv, won, trial[better]), put(best, won, loss[better])
                degree, gained = put(degree, won, now[better]), put(gained, won, better[better])
                left = left[~torch.isin(left, won)]
                if not len(left):
                    break
            keep = yield Candidate(adv, degree)
            x, adv, best, degree, goal, budget, order, live, gained = take(
                keep, x, adv, best, degree, goal, budget, order, live, gained
            )

    def _order(self, editable: Tensor, n: int, rng: Generator) -> tuple[Tensor, int]:
        """(N, D) directions in an order of its own per row, those that move nothing left out."""
        allowed = editable.flatten() > 0
        if self.basis == "dct":
            lead, side = editable.shape[:-2], editable.shape[-2:]
            some = [min(s, max(LEAST, math.ceil(s * self.frequencies))) for s in side]
            low = torch.zeros_like(editable)
            low[..., : some[0], : some[1]] = 1
            moves = editable.flatten(-2).amax(-1).view(*lead, 1, 1)
            allowed = (low * moves).flatten() > 0
        index = allowed.nonzero().flatten()
        order = torch.rand(n, len(index), generator=rng, device=rng.device).argsort(1)
        return (index[order], len(index)) if len(index) else (order.new_zeros(n, 1), 1)

    def _direction(self, x: Tensor, which: Tensor) -> Tensor:
        """Unit vectors (N, ...) of the basis."""
        flat = torch.zeros_like(x).flatten(1).scatter(1, which.view(-1, 1), 1.0)
        return dct.inverse(flat.view_as(x)) if self.basis == "dct" else flat.view_as(x)
