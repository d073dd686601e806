"""What the windows of Square do to inputs: many proposals for each row, or several of them at once."""

from dataclasses import dataclass
from typing import Self, cast

import torch
from torch import Generator, Tensor

from holdfast.core.goal import Goal
from holdfast.core.space import Box, Budget
from holdfast.core.target import Scores
from holdfast.evasion.scored import Problem, unit
from holdfast.ops import balls, squares
from holdfast.ops.rows import take


@dataclass(frozen=True, eq=False)
class Corners:
    """Corners of the Linf ball that the box cuts: each feature has one of two values, told by a bit.

    Attributes:
        up: inputs (N, ...) with every feature as large as it may be, where the bit is one.
        down: likewise as small as it may be.
        walk: (N, 2) random numbers that say in which order the places of a row are visited.
    """

    up: Tensor
    down: Tensor
    walk: Tensor

    @classmethod
    def of(cls, target: Scores, x: Tensor, budget: Budget, rng: Generator) -> Self:
        """Those of the balls around `x`."""
        space, reach = cast(Box, target.space), unit(target, x) * budget.rows(x)
        walk = torch.rand(len(x), 2, generator=rng, device=x.device)
        return cls(space.project(x + reach, x, budget), space.project(x - reach, x, budget), walk)

    def take(self, index: Tensor) -> Self:
        """The rows `index`."""
        return type(self)(*take(index, self.up, self.down, self.walk))

    def points(self, bits: Tensor) -> Tensor:
        """Inputs (N, K, ...) with these bits."""
        return torch.where(bits, self.up.unsqueeze(1), self.down.unsqueeze(1))

    def first(self, rng: Generator) -> Tensor:
        """Vertical stripes."""
        n, channels, height, width = squares.images(self.up).shape
        bits = squares.bits((n, channels, 1, width), rng)
        return bits.repeat(1, 1, height, 1).view(self.up.shape)

    def proposals(self, at: Tensor, share: float, step: int, count: int, rng: Generator) -> Tensor:
        """(N, count, ...): in each channel of a window the bits `at` become all one or all zero.

        Proposal number `step` is the first. One that would change nothing is turned round.
        """
        n, channels, height, width = squares.images(at).shape
        window = squares.side(share * height * width, height, width)
        pixels = squares.visited(self.walk, range(step, step + count), window, height, width)
        pixels = pixels.unsqueeze(2).expand(n, count, channels, -1)
        bits = at.view(n, 1, channels, -1).repeat(1, count, 1, 1)
        new = squares.bits((n, count, channels, 1), rng)
        idle = (bits.gather(3, pixels) == new).flatten(2).all(2).view(n, count, 1, 1)
        bits.scatter_(3, pixels, (new ^ idle).expand_as(pixels))
        return bits.view(n, count, *at.shape[1:])

    def together(self, before: Tensor, at: Tensor, trial: Tensor, won: Tensor) -> Tensor:
        """`at` with whatever the proposals `won` (N, count) among `trial` changed in `before`."""
        row, which = won.nonzero(as_tuple=True)
        changed = (trial[row, which] ^ before[row]).to(torch.int16)
        turned = torch.zeros_like(at, dtype=torch.int16).index_add_(0, row, changed) > 0
        return torch.where(turned, ~before, at)


@dataclass(frozen=True, eq=False)
class Bumps(Problem):
    """Inputs as far from the clean ones as an L2 or L1 budget allows, with bumps in windows."""

    def points(self, x: Tensor) -> Tensor:
        """The inputs themselves."""
        return x

    def first(self, rng: Generator) -> Tensor:
        """Tiles of bumps."""
        tiles = squares.tiles(squares.images(self.x), self.budget.norm, rng)
        return self._scaled(tiles.view_as(self.x) * self.free)

    def proposals(self, at: Tensor, share: float, step: int, count: int, rng: Generator) -> Tensor:
        """(N, count, ...): mass moves from one window of `at` to another."""
        every = self.repeated(count)
        delta = squares.images((at - self.x) / self.unit).repeat_interleave(count, 0)
        height, width = delta.shape[2:]
        window = squares.side(share * height * width, height, width, least=3)
        eps = every.eps.flatten().expand(len(delta)).to(delta)
        new = squares.moved(delta, eps, window, self.budget.norm, rng).view_as(every.x) * self.free
        return every._scaled(new).view(len(at), count, *at.shape[1:])

    def together(self, before: Tensor, at: Tensor, trial: Tensor, won: Tensor) -> Tensor:
        """`at` with the changes that the proposals `won` (N, count) made in `before`, added up."""
        row, which = won.nonzero(as_tuple=True)
        moved = at.index_add(0, row, trial[row, which] - before[row])
        return self._scaled((moved - self.x) / self.unit)

    def _scaled(self, delta: Tensor) -> Tensor:
        """Inputs with a change, in L2 at full size: when they were clamped it became smaller."""
        if self.budget.norm == "l2":
            delta = balls.steepest(delta, "l2") * self.eps
        return self.moved(self.x, delta)


def ball(target: Scores, x: Tensor, goal: Goal, budget: Budget, rng: Generator) -> Corners | Bumps:
    """The windows' work in the norm of the budget."""
    if budget.norm == "linf":
        return Corners.of(target, x, budget, rng)
    return Bumps(target, x, goal, budget)
