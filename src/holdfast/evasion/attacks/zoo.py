"""Zeroth-order optimisation (Chen et al. 2017)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.errors import NotApplicable
from holdfast.core.goal import Goal, of_classes
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget
from holdfast.core.target import Scores
from holdfast.evasion.scored import Problem
from holdfast.ops import balls, estimates
from holdfast.ops.rows import take

DECAY1, DECAY2 = 0.9, 0.999
"""Adam's averages, sec. 4.2."""
PATIENCE, STILL = 100, 0.9999
"""A search ends where no row's objective fell by that factor within so many steps (code)."""


@method(cites="chen2017", where="alg. 2 with eq. 4 to 6; sec. 3.2 for tanh")
@dataclass(frozen=True)
class ZOO(EvasionAttack[Scores]):
    r"""Zeroth-order optimisation.

    minimise  |adv - x|_2^2 + c max(-lead(adv), -confidence),   lead > 0 where the goal is reached

    by Adam on random coordinates i of their own for every row, with moments and a count of steps
    per coordinate, and

    g_i ~ (f(adv + h e_i) - f(adv - h e_i)) / 2 h

    The constant c is searched by bisection, after growing tenfold until something is found. With
    `tanh` the variable is z, adv = low + (high - low) (tanh z + 1) / 2. All coordinates are equally
    likely; the paper's growing grids and its sampling by importance, for images of hundreds of
    pixels a side, are left out. One query per step, beside the 2 `coordinates`, asks whether the
    goal is reached.
    """

    measures = ("l2",)
    minimises = True

    steps: int = hyper(3000, "sec. 4.2", low=1)
    searches: int = hyper(9, "sec. 4.2", low=1)
    coordinates: int = hyper(128, "sec. 4.2, B", low=1)
    width: float = hyper(1e-4, "sec. 3.3, h", low=1e-7)
    rate: float = hyper(0.01, "sec. 4.2, eta", low=0)
    first_const: float = hyper(0.01, "sec. 4.2, c", low=0)
    confidence: float = hyper(0.0, "sec. 4.2, kappa", low=0)
    tanh: bool = hyper(False, "authors' code, use_tanh")

    def run(self, target: Scores, x: Tensor, goal: Goal, budget: Budget, rng: Generator) -> Search:
        at = Problem(target, x, of_classes(goal), budget)
        at = at.take((yield Candidate(x, at.degree(x))))
        low, const = (at.x.new_full((len(at.x),), v) for v in (0.0, self.first_const))
        high = torch.full_like(low, torch.inf)
        for _ in range(self.searches):
            z, found = self._start(at), torch.zeros_like(low)
            first, second, age = (torch.zeros_like(z).flatten(1) for _ in range(3))
            before = torch.full_like(low, torch.inf)
            for done in range(self.steps):
                index = self._pick(at, rng)
                slope, value = estimates.coordinates(self._loss(at, const), z, index, self.width)
                slope = slope.to(z)
                m = DECAY1 * first.gather(1, index) + (1 - DECAY1) * slope
                v = DECAY2 * second.gather(1, index) + (1 - DECAY2) * slope.square()
                t = age.gather(1, index) + 1
                first, second, age = (
                    old.scatter(1, index, new) for old, new in ((first, m), (second, v), (age, t))
                )
                size = (v / (1 - DECAY2**t)).sqrt() + 1e-8
                step = torch.zeros_like(first).scatter(1, index, m / (1 - DECAY1**t) / size)
                z = self._limited(at, z - self.rate * step.view_as(z) * at.free)
                adv = self._input(at, z, at.x)
                degree = at.degree(adv)
                found = torch.maximum(found, (degree >= goal.threshold).to(found))
                keep = yield Candidate(adv, degree)
                at, (z, first, second, age, found) = (
                    at.take(keep), take(keep, z, first, second, age, found)
                )  # fmt: skip
                low, high, const, value, before = take(keep, low, high, const, value, before)
                if done % PATIENCE == PATIENCE - 1:
                    if not (value < STILL * before).any():
                        break
                    before = value
            low, high = torch.where(found > 0, low, const), torch.where(found > 0, const, high)
            const = torch.where(high.isinf(), const * 10, (low + high) / 2)

    def _pick(self, at: Problem, rng: Generator) -> Tensor:
        """(N, B) coordinates that may be changed, without repetition."""
        index = at.free.flatten().nonzero().flatten()
        draw = torch.rand(len(at.x), len(index), generator=rng, device=rng.device)
        return index[draw.argsort(1)[:, : self.coordinates]]

    def _loss(self, at: Problem, const: Tensor) -> Callable[[Tensor], Tensor]:
        """The objective of points (N, P, ...), in double precision: squares are small sums."""

        def loss(points: Tensor) -> Tensor:
            n, count = points.shape[:2]
            rows = at.repeated(count)
            adv = self._input(at, points.flatten(0, 1), rows.x)
            raw = at.target.scores(adv).double()
            hinge = (-of_classes(rows.goal).margin(raw)).clamp(min=-self.confidence)
            distance = balls.size((adv.double() - rows.x.double()) / at.unit, "l2").square()
            return distance.view(n, count) + const.view(-1, 1) * hinge.view(n, count)

        return loss

    def _bounds(self, at: Problem) -> tuple[Tensor, Tensor]:
        low, high = (torch.as_tensor(v).to(at.x) for v in (at.space.low, at.space.high))
        if not (low.isfinite().all() and high.isfinite().all()):
            raise NotApplicable("needs inputs with bounds, which tanh reaches at infinity")
        return low, high

    def _start(self, at: Problem) -> Tensor:
        """The variable of the clean inputs: themselves in units, or through the inverse of tanh."""
        if not self.tanh:
            return at.x / at.unit
        low, high = self._bounds(at)
        return torch.atanh((2 * (at.x - low) / (high - low) - 1) * 0.999999)

    def _limited(self, at: Problem, z: Tensor) -> Tensor:
        """The variable back in its range."""
        return z if self.tanh else at.space.clamp(z * at.unit) / at.unit

    def _input(self, at: Problem, z: Tensor, around: Tensor) -> Tensor:
        """The valid inputs of variables."""
        if not self.tanh:
            return at.space.within(z * at.unit, around)
        low, high = self._bounds(at)
        return at.space.within(low + (high - low) * (torch.tanh(z) + 1) / 2, around)
