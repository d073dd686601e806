"""Parsimonious black-box attack by discrete optimisation (Moon, An and Song 2019)."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.goal import Goal
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget
from holdfast.core.target import Scores
from holdfast.evasion.greedy import Walk, blocks_of, corner
from holdfast.evasion.scored import Problem, odds
from holdfast.ops import squares

SIDES = 8
"""Blocks along a side at first: the authors use 4 pixels of 32 and 32 of 256."""


@method(cites="moon2019", where="alg. 1, 2 and 3")
@dataclass(frozen=True)
class Discrete(EvasionAttack[Scores]):
    r"""Parsimonious attack by local search.

    Every block of pixels, in every channel, is at x - eps or x + eps; S is the set of blocks at
    x + eps, at first empty. With F(S) the log-odds against the label:

    insert   the block a outside of S with the largest F(S + a) - F(S), while that is positive
    delete   the block a in S with the largest F(S - a) - F(S), while that is positive

    Both go through a queue of gains that may be outdated (lazy greedy): the top one is asked for
    again, and taken if it still beats the next. Blocks come in random batches; after each round they
    are halved, and rows that a round of single pixels did not change are done. All rows search at
    the same time, each with a queue of its own. Inputs that are no images are a line of features,
    and blocks stretches of it.
    """

    measures = ("linf",)

    steps: int = hyper(
        10, "ours: rounds over all blocks; the authors stop at 20,000 queries", low=1
    )
    block: int = hyper(
        0, "side of the first blocks; 0: an eighth of the image, authors' code", low=0
    )
    batch: int = hyper(64, "authors' code, batch_size", low=1)

    def run(self, target: Scores, x: Tensor, goal: Goal, budget: Budget, rng: Generator) -> Search:
        at = Problem(target, x, goal, budget)
        at = at.take((yield Candidate(x, at.degree(x))))
        sign = -torch.ones_like(squares.images(at.x))
        adv = corner(at, sign)
        walk = Walk(at, sign, adv, *at.ask(adv, odds))
        yield from walk.show(adv, walk.degree)
        side = self.block or max(1, sign.shape[-1] // SIDES)
        last = 0
        for _ in range(self.steps):
            blocks = blocks_of(sign[0], side)
            usable = blocks[squares.images(at.free.unsqueeze(0))[0] > 0].unique()
            draw = torch.rand(len(walk.sign), len(usable), generator=rng, device=rng.device)
            if not walk.begin(usable[draw.argsort(1)], again=side == last):
                return
            for start in range(0, len(usable), self.batch):
                for inside in (False, True):
                    yield from walk.sweep(blocks, slice(start, start + self.batch), inside)
            last, side = side, max(1, side // 2)
