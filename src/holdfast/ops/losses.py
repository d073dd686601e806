"""Per-row losses of class scores: (N, K), (N,) -> (N,). The larger, the more wrong."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy as _cross_entropy


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Negative log-likelihood of `labels`; also for dense (N, K, H, W) scores, averaged per row."""
    loss = _cross_entropy(scores, labels, reduction="none")
    return loss.flatten(1).mean(1) if loss.ndim > 1 else loss


def margin(scores: Tensor, labels: Tensor) -> Tensor:
    """Best other score minus the score of the label: positive when the label lost."""
    own = scores.gather(1, labels.view(-1, 1)).squeeze(1)
    others = scores.scatter(1, labels.view(-1, 1), -torch.inf)
    return others.amax(1) - own


def phi(scores: Tensor, labels: Tensor) -> Tensor:
    """Logit of the label's probability, z_y - logsumexp(z_others), in double precision.

    Carlini et al. 2022, eq. 3; computed from scores, since 1 - p is lost in a rounded softmax.
    """
    scores = scores.double()
    own = scores.gather(1, labels.view(-1, 1)).squeeze(1)
    others = scores.scatter(1, labels.view(-1, 1), -torch.inf)
    return own - others.logsumexp(1)


def two_logits(raw: Tensor) -> Tensor:
    """One binary logit z, (N,) or (N, 1), as (N, 2) scores (-z / 2, z / 2).

    Their softmax is sigmoid(z). A constant score of zero for class 0 would have the same, but no
    gradient: what explains or guides by one class's score would be blind on half of the rows.
    """
    if raw.ndim == 1 or (raw.ndim == 2 and raw.shape[1] == 1):
        half = raw.reshape(-1, 1) / 2
        return torch.cat([-half, half], 1)
    return raw
