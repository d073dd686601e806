"""Rotations and translations (Engstrom et al. 2019)."""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.errors import NotApplicable
from holdfast.core.goal import Goal
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Box, Budget, of_box
from holdfast.core.target import Answers
from holdfast.ops.rows import take
from holdfast.ops.transforms import affine

CHUNK = 256
"""Images looked at in one pass while few rows are left."""


@method(cites="engstrom2019", where="sec. 3, attack space and search")
@dataclass(frozen=True)
class Spatial(EvasionAttack[Answers]):
    r"""Spatial transformation.

    adv = argmax L(f(turn and shift(x; angle, right, down)), y),
          |angle| <= max_rotation, |right| and |down| <= max_shift

    by answers alone: over a grid, from mild to strong, so that what is found first is the mildest of
    the grid; or as the worst of a few random draws. A random draw comes first in any case. What
    moves in at the edges is the least valid value (black). The paper's third search, by gradients,
    is its weakest, as the loss has many local maxima in these three numbers; it is left out.
    """

    measures = ("any",)

    max_rotation: float = hyper(30.0, "sec. 4, degrees both ways", low=0, high=180)
    max_shift: float = hyper(0.1, "sec. 4: 3 of 28 or 32 pixels; share of the side", low=0, high=1)
    search: str = hyper("grid", "sec. 3", choices=("grid", "random"))
    angles: int = hyper(31, "sec. 4, grid of 5 x 5 x 31", low=1)
    shifts: int = hyper(5, "sec. 4, grid of 5 x 5 x 31", low=1)
    tries: int = hyper(10, "sec. 3, worst of 10", low=1)

    def run(self, target: Answers, x: Tensor, goal: Goal, budget: Budget, rng: Generator) -> Search:
        if x.ndim != 4:
            raise NotApplicable("turns and shifts images, which these inputs are not")
        if not torch.as_tensor(of_box(target.space).low).isfinite().all():
            raise NotApplicable("needs a least valid value, which moves in at the edges")
        keep = yield Candidate(x, goal.degree(target.answer(x)))
        x, goal = take(keep, x, goal)
        place = self._draw(x, rng)
        for _ in range(self.tries if self.search == "random" else 1):
            moved = self.moved(x, place, of_box(target.space))
            keep = yield Candidate(moved, goal.degree(target.answer(moved)))
            x, goal, place = take(keep, x, goal, self._draw(x, rng))
        if self.search == "grid":
            yield from self._grid_search(target, x, goal)

    def moved(self, x: Tensor, place: Tensor, space: Box) -> Tensor:
        """Images turned and shifted by `place` (N, 3), from -1 to 1 over the ranges."""
        low = torch.as_tensor(space.low).to(x)
        angle = math.radians(self.max_rotation) * place[:, 0]
        return space.within(affine(x - low, angle, self.max_shift * place[:, 1:]) + low, x)

    def grid(self) -> Tensor:
        """(angles * shifts^2, 3) all places, the mildest first."""
        turns, moves = (
            torch.linspace(-1, 1, n) if n > 1 else torch.zeros(1)
            for n in (self.angles, self.shifts)
        )
        places = torch.cartesian_prod(turns, moves, moves)
        return places[places.abs().sum(1).argsort(stable=True)]

    def _draw(self, x: Tensor, rng: Generator) -> Tensor:
        """(N, 3) uniform places."""
        return (2 * torch.rand(len(x), 3, generator=rng, device=x.device) - 1).to(x)

    def _grid_search(self, target: Answers, x: Tensor, goal: Goal) -> Search:
        """Every place of the grid for every row, many at once where few rows are left."""
        space, grid, done = of_box(target.space), self.grid().to(x), 0
        while done < len(grid):
            places = grid[done : done + max(1, CHUNK // max(1, len(x)))]
            done += len(places)
            rows = torch.arange(len(x), device=x.device).repeat(len(places))
            moved = self.moved(x[rows], places.repeat_interleave(len(x), 0), space)
            degree = goal.take(rows).degree(target.answer(moved)).view(len(places), len(x))
            best = degree.argmax(0)  # the first of equals, and so the mildest
            here = torch.arange(len(x), device=x.device)
            keep = yield Candidate(
                moved.view(len(places), *x.shape)[best, here], degree[best, here]
            )
            x, goal = take(keep, x, goal)
