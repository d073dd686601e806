"""Copycat CNN: a copy trained on stolen labels (Correia-Silva et al. 2018)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import ExtractionAttack
from holdfast.core.method import hyper, method
from holdfast.core.recipe import Background
from holdfast.core.target import Answers, Scores
from holdfast.ops.blends import blends


@method(cites="correiasilva2018", where="sec. III")
@dataclass(frozen=True)
class Copycat(ExtractionAttack[Answers]):
    r"""Copycat CNN.

    copy = train( { (x, target(x)) : x in fake data } ),  classes balanced

    The labels are the target's hard answers, never the true ones. The fake data are the pool's rows
    and, when these run out, points between two of them. Rows of rarer answers are repeated until
    every class that was ever answered has as many. Yields a copy at each of three growing budgets.
    """

    queries: int = hyper(1000, "ours: speed; the paper asks up to millions", low=10)

    def steal(
        self, target: Answers, pool: Dataset, background: Background, rng: Generator
    ) -> Iterator[Scores]:
        recipe = background.recipe
        if recipe is None:
            raise NotApplicable("needs to train copies: give the model as a factory")
        order = torch.randperm(len(pool), generator=rng)
        own = pool.tensor[order[: self.queries]]
        x = torch.cat([own, blends(pool.tensor, self.queries - len(own), rng)])
        y = torch.zeros(0, dtype=torch.long)
        for budget in (self.queries // 10, 3 * self.queries // 10, self.queries):
            y = torch.cat([y, target.answer(x[len(y) : budget]).cpu()])
            if len(y.unique()) < 2:
                continue  # one class only teaches nothing
            rows = _balanced(y, rng)
            stolen = Dataset("stolen labels", x[rows], y[rows], pool.classes, pool.space)
            yield recipe.train(stolen, int(torch.randint(2**31, (), generator=rng)))


def _balanced(y: Tensor, rng: Generator) -> Tensor:
    """Row numbers in which every class is as frequent as the most frequent one."""
    rows = [(y == k).nonzero().flatten() for k in y.unique()]
    most = max(len(own) for own in rows)
    more = [own[torch.randint(len(own), (most - len(own),), generator=rng)] for own in rows]
    return torch.cat([*rows, *more])
