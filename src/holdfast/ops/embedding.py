"""Word embeddings: first-order effect of replacing words."""

import torch
from torch import Tensor


def replacement_gain(grad: Tensor, table: Tensor, current: Tensor, candidates: Tensor) -> Tensor:
    """First-order change of a loss when a word is replaced: (e_candidate - e_current) . grad.

    Ebrahimi et al. 2018, eq. 1, with the one-hot gradient written through the embedding table.

    Args:
        grad: (N, L, D) gradient with respect to the embedded words.
        table: (V, D) embeddings.
        current: (N, L) word ids.
        candidates: (N, L, C) word ids, -1 for none.

    Returns:
        (N, L, C), zero where there is no candidate.
    """
    there = torch.einsum("nlcd,nld->nlc", table[candidates.clamp(min=0)], grad)
    here = (table[current] * grad).sum(2, keepdim=True)
    return (there - here).masked_fill(candidates < 0, 0)
