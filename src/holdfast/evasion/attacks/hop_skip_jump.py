"""HopSkipJump (Chen, Jordan and Wainwright 2020)."""

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
from holdfast.core.target import Answers
from holdfast.ops import balls
from holdfast.ops.boundary import Boundary
from holdfast.ops.rows import put, take


@method(cites="chen2020", where="alg. 1 and 2")
@dataclass(frozen=True)
class HopSkipJump(EvasionAttack[Answers]):
    r"""HopSkipJump.

    With phi = 1 where the goal is reached and -1 elsewhere, and D features, each iteration t does

    adv <- boundary between x and adv, searched to a part theta of the way
    v    = sum_b (phi(adv + delta u_b) - mean phi) u_b,   b = 1 .. initial_queries sqrt(t)
    adv <- adv + step steepest(v),   step = |adv - x| / sqrt(t), halved until phi = 1

    where theta = D^{-3/2} for L2 and D^{-2} for Linf, and delta = |adv - x| / D before the search.
    It starts from uniform noise, from salt and pepper of random density and from other inputs at
    hand, in turn: many models answer all uniform noise alike, and rows of that class, or of the
    larger side of a table's boundary, would find no start.
    """

    minimises = True

    iterations: int = hyper(64, "authors' code, num_iterations", low=1)
    initial_queries: int = hyper(100, "authors' code, B_0", low=2)
    max_queries: int = hyper(10_000, "authors' code, max_num_evals", low=2)
    init_trials: int = hyper(100, "ours: guesses that failed so often keep failing", low=1)

    def run(self, target: Answers, x: Tensor, goal: Goal, budget: Budget, rng: Generator) -> Search:
        space = cast(Box, target.space)
        degree = goal.degree(target.answer(x))
        keep = yield Candidate(x, degree)
        x, degree, goal = take(keep, x, degree, goal)
        low, high, unit = (
            torch.as_tensor(v, dtype=x.dtype, device=x.device)
            for v in (space.low, space.high, space.scale)
        )
        if not (low.isfinite().all() and high.isfinite().all()):
            raise NotApplicable("needs inputs with bounds, to draw its first guesses between them")
        # of the rows that are still open, `live` are those for which a guess reached the goal
        still = (degree < goal.threshold).nonzero().flatten()
        x, edge = x / unit, _edge(target, goal, budget, unit, x)  # from here on in units of change
        adv, live = self._start(edge, x, still, (low / unit, high / unit), rng)
        degree = degree.index_fill(0, live, goal.threshold)
        for t in range(1, self.iterations + 1):
            delta = balls.size(adv - x, budget.norm) / edge.dims
            adv = put(adv, live, edge.search(x[live], adv[live], live))
            keep = yield Candidate(space.clamp(adv * unit), degree)
            x, adv, degree, delta, goal = take(keep, x, adv, degree, delta, goal)
            if keep is not None:
                live = torch.isin(keep, live).nonzero().flatten()
                edge = _edge(target, goal, budget, unit, x)
            count = min(int(self.initial_queries * math.sqrt(t)), self.max_queries)
            way = edge.normal(adv[live], live, delta[live], count, rng)
            length = balls.size(adv - x, budget.norm)[live] / math.sqrt(t)
            steepest = balls.steepest(way, budget.norm)
            adv = put(adv, live, edge.step(adv[live], live, steepest, length))
        adv = put(adv, live, edge.search(x[live], adv[live], live))
        yield Candidate(space.clamp(adv * unit), degree)

    def _start(
        self, edge: Boundary, x: Tensor, rows: Tensor, box: tuple[Tensor, Tensor], rng: Generator
    ) -> tuple[Tensor, Tensor]:
        """Guesses that reach the goal, and the rows for which one was found."""
        (low, high), adv, left = box, x, rows
        for trial in range(self.init_trials):
            if not len(left):
                break
            if trial % 3 == 2:
                guess = x[torch.randint(len(x), (len(left),), generator=rng, device=x.device)]
            else:
                noise = torch.rand((len(left), *x.shape[1:]), generator=rng, device=x.device)
                if trial % 3 == 1:
                    density = torch.rand(len(left), generator=rng, device=x.device)
                    noise = (noise < balls.rows(density, noise)).to(x.dtype)
                guess = edge.clamp(low + (high - low) * noise)
            hit = edge.reached(guess, left)
            adv, left = put(adv, left[hit], guess[hit]), left[~hit]
        return adv, rows[~torch.isin(rows, left)]


def _edge(target: Answers, goal: Goal, budget: Budget, unit: Tensor, x: Tensor) -> Boundary:
    """The boundary of the goal's region in units of change; its rows are those of the goal."""
    space = cast(Box, target.space)

    def reached(points: Tensor, rows: Tensor) -> Tensor:
        return goal.take(rows).degree(target.answer(space.clamp(points * unit))) >= goal.threshold

    def clamp(points: Tensor) -> Tensor:
        return space.clamp(points * unit) / unit

    return Boundary(reached, clamp, budget.norm, x[:1].numel())
