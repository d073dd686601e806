"""Less precise answers: top-k, rounding, label only (Shokri et al. 2017)."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from holdfast.core.kinds import OutputFilter
from holdfast.core.method import hyper, method


@method(cites="shokri2017", where="sec. VIII-A")
@dataclass(frozen=True)
class Truncate(OutputFilter):
    r"""Truncated answers: top-k, rounding, label only.

    top:        the k largest probabilities stay, the others share what is left evenly
    decimals:   every probability becomes a multiple of 10^-d, the answer takes what is missing
    label_only: one for the answer, zero for the others

    The answer itself, the class with the largest probability, never changes.
    """

    top: int = hyper(0, "sec. VIII-A; 0 shows all classes", low=0)
    decimals: int = hyper(1, "sec. VIII-A, d; -1 does not round", low=-1, high=12)
    label_only: bool = hyper(False, "sec. VIII-A, top 1 label")

    def filter(self, probabilities: Tensor, rng: Generator) -> Tensor:
        p = probabilities.double()
        if self.label_only:
            return one_hot(p.argmax(1), p.shape[1]).to(probabilities.dtype)
        if 0 < self.top < p.shape[1]:
            p = _keep(p, self.top)
        if self.decimals >= 0:
            p = _round(p, 10**self.decimals)
        return p.to(probabilities.dtype)


def _keep(p: Tensor, top: int) -> Tensor:
    """An even share is at most the smallest probability that stays, so the order is kept."""
    kept = torch.zeros_like(p).scatter(
        1, p.sort(dim=1, descending=True, stable=True).indices[:, :top], 1.0
    )
    rest = (p * (1 - kept)).sum(1, keepdim=True) / (p.shape[1] - top)
    return torch.where(kept.bool(), p, rest)


def _round(p: Tensor, parts: int) -> Tensor:
    """Multiples of 1 / parts: to the nearest, or downwards where that would change the answer."""
    answer = one_hot(p.argmax(1), p.shape[1]).bool()
    near, low = (f(p * parts).masked_fill(answer, 0) for f in (torch.round, torch.floor))
    room = parts - near.sum(1, keepdim=True)
    whole = torch.where(room > near.amax(1, keepdim=True), near, low)
    return torch.where(answer, parts - whole.sum(1, keepdim=True), whole) / parts
