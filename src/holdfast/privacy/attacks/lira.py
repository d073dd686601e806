"""Likelihood-ratio attack (Carlini et al. 2022)."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import MembershipAttack
from holdfast.core.method import hyper, method
from holdfast.core.recipe import Background, TorchRecipe
from holdfast.core.target import Scores
from holdfast.ops import likelihood
from holdfast.ops.losses import phi

FEW = 32
"""Below so many models per side all rows share one variance (after the ablation in sec. VI)."""


@method(cites="carlini2022", where="alg. 1")
@dataclass(frozen=True)
class LiRA(MembershipAttack[Scores]):
    r"""Likelihood-ratio attack (LiRA).

    phi = log( p_y / (1 - p_y) ) of the target,  score = log N(phi; in) - log N(phi; out)

    with the two laws fitted, row by row, to phi of `shadows` models that were trained with or
    without the row: every model sees one half of all rows, every row is in one half of the models.
    Offline no model ever sees the row: score = -log P(Z > phi), Z ~ N(out), one-sided.
    """

    shadows: int = hyper(16, "ours: speed; sec. V trains 256", low=4)
    offline: bool = hyper(False, "sec. IV gives both; true needs background rows")

    def score(
        self, target: Scores, data: Dataset, background: Background, rng: Generator
    ) -> Tensor:
        recipe, extra = background.recipe, background.data
        if not isinstance(recipe, TorchRecipe):
            raise NotApplicable("needs to train PyTorch shadow models: give the model as a factory")
        if self.offline and extra is None:
            raise NotApplicable("needs rows of its own to train shadow models without the others")
        pool = data if extra is None else _join(data, extra)
        member = _halves(self.shadows, len(pool), rng)
        if self.offline:
            member[:, : len(data)] = False
        seed = int(torch.randint(2**31, (), generator=rng))
        raw = recipe.bank(pool, member, data.tensor, seed)
        shadow = torch.stack([phi(scores, data.y) for scores in raw])
        seen = phi(target.scores(data.tensor), data.y)
        member = member[:, : len(data)]
        pooled = self.shadows // 2 < FEW
        out = likelihood.moments(shadow, ~member, pooled)
        if self.offline:
            return likelihood.surprise(seen, out)
        return likelihood.log_ratio(seen, likelihood.moments(shadow, member, pooled), out)


def _halves(models: int, rows: int, rng: Generator) -> Tensor:
    """(M, N) Boolean: each model has half of the rows, and the next one has the other half."""
    first = torch.rand((models + 1) // 2, rows, generator=rng).argsort(1) < rows // 2
    return torch.stack([first, ~first], 1).flatten(0, 1)[:models]


def _join(a: Dataset, b: Dataset) -> Dataset:
    return Dataset(a.name, torch.cat([a.tensor, b.tensor]), torch.cat([a.y, b.y]), a.classes)
