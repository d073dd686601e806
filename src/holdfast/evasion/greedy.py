"""Lazy greedy search over blocks of signs, for many inputs at once."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from holdfast.core.kinds import Candidate, Search
from holdfast.evasion.scored import Problem, odds
from holdfast.ops.rows import put, take


@dataclass(eq=False)
class Walk:
    """Where the local search of every row stands (Moon, An and Song 2019, alg. 1 and 2).

    Attributes:
        at: the rows.
        sign: (N, C, H, W) which end of the ball each pixel is at.
        adv: the input of those signs.
        value: (N,) its loss.
        degree: (N,) how far it reaches the goal.
        order: (N, B) the blocks in the row's order.
        gain: (N, M) last known gain of each block of a batch, -inf for those not in the queue.
        open: (N,) whether the row still takes from its queue.
        before: the signs when the round began.
        live: (N,) whether the row takes part in the round.
    """

    at: Problem
    sign: Tensor
    adv: Tensor
    value: Tensor
    degree: Tensor
    order: Tensor = field(default_factory=lambda: torch.zeros(0))
    gain: Tensor = field(default_factory=lambda: torch.zeros(0))
    open: Tensor = field(default_factory=lambda: torch.zeros(0))
    before: Tensor = field(default_factory=lambda: torch.zeros(0))
    live: Tensor = field(default_factory=lambda: torch.zeros(0))

    def begin(self, order: Tensor, *, again: bool) -> bool:
        """Start a round over the blocks `order`; whether any row takes part.

        A round over the same blocks `again` is only for rows that the last one changed: the others
        would ask the same questions.
        """
        changed = torch.ones_like(self.value, dtype=torch.bool)
        if again:
            changed = (self.sign != self.before).flatten(1).any(1)
        self.order, self.before, self.live = order, self.sign, changed
        return bool(changed.any())

    def show(self, x: Tensor, degree: Tensor) -> Search:
        """Offer inputs of all rows and drop those that are no longer wanted."""
        keep = yield Candidate(x, degree)
        self.at = self.at.take(keep)
        for name in ("sign", "adv", "value", "degree", "order", "gain", "open", "before", "live"):
            tensor = getattr(self, name)
            if len(tensor):
                setattr(self, name, take(keep, tensor)[0])

    def sweep(self, blocks: Tensor, part: slice, inside: bool) -> Search:
        """Lazy greedy deletion of blocks that are `inside` of the set, or insertion of others."""
        count = self.order[:, part].shape[1]
        self.gain = self.value.new_full((len(self.value), count), -torch.inf)
        for k in range(count):
            there = self._inside(blocks, self.order[:, part][:, k]) == inside
            rows = (there & self.live).nonzero().flatten()
            if len(rows):
                _, x, loss, degree = self._flipped(blocks, rows, self.order[rows, part][:, k])
                self.gain[rows, k] = loss - self.value[rows]
                yield from self.show(put(self.adv, rows, x), put(self.degree, rows, degree))
        self.open, fresh = torch.ones_like(self.value, dtype=torch.bool), True
        while True:
            top, j = self.gain.max(1)
            # the very first gain is not outdated, so there is nothing to ask for again
            self.open = self.open & (top > (0 if fresh else -torch.inf))
            rows = self.open.nonzero().flatten()
            if not len(rows):
                return
            which = self.order[:, part].gather(1, j.unsqueeze(1)).squeeze(1)[rows]
            if fresh:
                sign = self._turned(blocks, rows, which)
                x, loss = corner(self.at.take(rows), sign), (self.value + top)[rows]
                degree = self.degree[rows]
            else:
                sign, x, loss, degree = self._flipped(blocks, rows, which)
            now = loss - self.value[rows]
            self.gain[rows, j[rows]] = -torch.inf
            fits = (now >= self.gain[rows].amax(1)) | fresh
            self.gain[rows, j[rows]] = torch.where(fits, -torch.inf, now)
            won = fits & (now > 0)
            self.open = put(self.open, rows, ~fits | won)
            shown, told = put(self.adv, rows, x), put(self.degree, rows, degree)
            for name, new in (("sign", sign), ("adv", x), ("value", loss), ("degree", degree)):
                setattr(self, name, put(getattr(self, name), rows[won], new[won]))
            if not fresh:
                yield from self.show(shown, told)
            fresh = False

    def _inside(self, blocks: Tensor, which: Tensor) -> Tensor:
        """(N,) whether a block of each row is at the upper end."""
        return ((self.sign > 0) & (blocks == which.view(-1, 1, 1, 1))).flatten(1).any(1)

    def _turned(self, blocks: Tensor, rows: Tensor, which: Tensor) -> Tensor:
        """Signs of some rows with one block of each turned over."""
        sign = self.sign[rows]
        return torch.where(blocks == which.view(-1, 1, 1, 1), -sign, sign)

    def _flipped(
        self, blocks: Tensor, rows: Tensor, which: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The same with inputs, losses and degrees, for one query each."""
        sign, at = self._turned(blocks, rows, which), self.at.take(rows)
        x = corner(at, sign)
        return sign, x, *at.ask(x, odds)


def corner(at: Problem, sign: Tensor) -> Tensor:
    """The inputs at those ends of the ball."""
    return at.moved(at.x, at.eps * sign.view_as(at.x))


def blocks_of(like: Tensor, side: int) -> Tensor:
    """(C, H, W) number of the block that each value belongs to."""
    channel, row, column = (
        torch.arange(size, device=like.device) // part
        for size, part in zip(like.shape, (1, side, side), strict=True)
    )
    down, over = -(-like.shape[1] // side), -(-like.shape[2] // side)
    return (channel.view(-1, 1, 1) * down + row.view(1, -1, 1)) * over + column.view(1, 1, -1)
