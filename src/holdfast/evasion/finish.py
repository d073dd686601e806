"""The last passes of a search for the smallest change: from its nearest hit to the boundary."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from holdfast.core.goal import AwayFrom
from holdfast.core.kinds import Candidate, Search
from holdfast.core.space import Budget, of_box
from holdfast.core.target import Gradients
from holdfast.ops import balls
from holdfast.ops.hyperplanes import step_to
from holdfast.ops.rows import take
from holdfast.ops.segments import Segments

PUSH = 1.001
"""How far beyond the linearised boundary the last step goes, so that it is not rounded away."""


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest hit of every row so far.

    Attributes:
        delta: (N, ...) its change, in units of the space; zero where there is none.
        size: (N,) its norm; infinite where there is none.
        margin: (N,) by how much it reached the goal.
        clean: (N,) margin of the first point that was seen, the clean one; below zero.
    """

    delta: Tensor
    size: Tensor
    margin: Tensor
    clean: Tensor

    @classmethod
    def none(cls, x: Tensor) -> Self:
        """No hits yet."""
        zero = torch.zeros(len(x), dtype=x.dtype, device=x.device)
        missing = torch.full_like(zero, torch.inf)
        return cls(torch.zeros_like(x), missing, zero, -missing)

    def seen(self, delta: Tensor, size: Tensor, margin: Tensor) -> Self:
        """After a further point; above zero, `margin` is a hit."""
        closer = (margin > 0) & (size < self.size)
        return type(self)(
            torch.where(balls.rows(closer, delta) > 0, delta, self.delta),
            torch.where(closer, size, self.size),
            torch.where(closer, margin, self.margin),
            torch.where(self.clean.isinf(), margin, self.clean),
        )

    def take(self, index: Tensor) -> Self:
        """The rows `index`."""
        return type(self)(*take(index, self.delta, self.size, self.margin, self.clean))


def finish(
    target: Gradients, x: Tensor, hits: Nearest, aim: AwayFrom, budget: Budget, steps: int,
    turn: bool = False,
) -> Search:  # fmt: skip
    """Ours: bring the nearest hits closer still, by `steps` probes of one kind.

    Along the segment to the clean input (one forward pass each); or, where also the direction may
    be wrong and `turn` is set, the least change from the clean input to the boundary that the
    gradient at the hit shows (three passes each).
    """
    box = of_box(target.space)
    line = Segments.between(hits.clean, hits.margin)
    for _ in range(steps):
        if turn:
            gradient = target.gradient(box.within(x + box.scaled(hits.delta), x), aim.margin)
            slope, (low, high) = box.scaled(gradient.wrt_input), box.reach(x)
            gap = (slope * hits.delta).flatten(1).sum(1) - aim.margin(gradient.raw)
            delta = step_to(slope, PUSH * gap, low, high, budget.norm)
        else:
            delta = balls.rows(line.probe, x) * hits.delta
        adv = box.within(x + box.scaled(delta), x)
        raw = target.scores(adv)
        margin = aim.margin(raw)
        if turn:
            hits = hits.seen(delta, balls.size(delta, budget.norm), margin)
        else:
            line = line.told(margin)
        keep = yield Candidate(adv, aim.degree(target.decode(raw)))
        x, aim, hits, line = take(keep, x, aim, hits, line)
