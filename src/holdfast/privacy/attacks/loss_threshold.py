"""Membership by the loss (Yeom et al. 2018)."""

from dataclasses import dataclass

from torch import Generator, Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.kinds import MembershipAttack
from holdfast.core.method import method
from holdfast.core.recipe import Background
from holdfast.core.target import Scores
from holdfast.ops.losses import cross_entropy


@method(cites="yeom2018", where="adversary 2")
@dataclass(frozen=True)
class LossThreshold(MembershipAttack[Scores]):
    r"""Loss-threshold membership inference.

    score(x, y) = -l(f(x), y)

    Rows that were trained on have smaller losses. The paper fixes the threshold at the mean
    training loss; here the engine fixes it, on rows other than those it then judges.
    """

    def score(
        self, target: Scores, data: Dataset, background: Background, rng: Generator
    ) -> Tensor:
        # in double precision: the losses of confident rows differ by less than single rounding
        return -cross_entropy(target.scores(data.tensor).double(), data.y)
