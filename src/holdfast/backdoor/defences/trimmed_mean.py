"""Coordinate-wise trimmed mean and median of federated updates (Yin et al. 2018)."""

from dataclasses import dataclass

from torch import Tensor

from holdfast.core.errors import InputError
from holdfast.core.kinds import Aggregator
from holdfast.core.method import hyper, method


@method(cites="yin2018", where="def. 1 (median), def. 2 (trimmed mean), alg. 1")
@dataclass(frozen=True)
class TrimmedMean(Aggregator):
    """Coordinate-wise trimmed mean and median.

    In every coordinate the floor(trim * C) largest and as many smallest of the C updates are left
    out and the others averaged; at trim = 1/2 what is left is the median. As long as no more than
    that many clients lie, the result stays between the smallest and the largest honest update.
    Every client counts the same: reported numbers of examples could be lies.
    """

    trim: float = hyper(0.5, "def. 1: the median", low=0.0, high=0.5)

    def aggregate(self, updates: Tensor) -> Tensor:
        clients = len(updates)
        if not clients:
            raise InputError("aggregating updates", got="none", fix="ask at least one client")
        if not updates.isfinite().all():  # a client that sends NaN would win every sort
            raise InputError(
                "updates must be finite", got="NaN or infinity", fix="drop that client"
            )
        # the tiny term undoes rounding of products such as 0.29 * 100
        cut = min(int(self.trim * clients + 1e-9), (clients - 1) // 2)
        return updates.sort(dim=0).values[cut : clients - cut].mean(0)
