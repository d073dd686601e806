"""Per-row losses of class scores: (N, K), (N,) -> (N,). The larger, the more wrong."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy as _cross_entropy
from torch.nn.functional import softplus


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Negative log-likelihood of `labels`; also for dense (N, K, H, W) scores, averaged per row.

    For (N, K) it is written as log(1 + exp(logsumexp of the others - own score)): its slope in the
    own score is p - 1, which the usual formula rounds to zero from 17 nats on in single precision.
    """
    if scores.ndim > 2:
        return _cross_entropy(scores, labels, reduction="none").flatten(1).mean(1)
    own = scores.gather(1, labels.view(-1, 1)).squeeze(1)
    others = scores.scatter(1, labels.view(-1, 1), -torch.inf)
    return softplus(others.logsumexp(1) - own)


def margin(scores: Tensor, labels: Tensor) -> Tensor:
    """Best other score minus the score of the label: positive when the label lost."""
    own = scores.gather(1, labels.view(-1, 1)).squeeze(1)
    others = scores.scatter(1, labels.view(-1, 1), -torch.inf)
    return others.amax(1) - own


def rivals(scores: Tensor, labels: Tensor, count: int) -> Tensor:
    """The `count` best other classes of each row, best first: (N, K), (N,) -> (N, min(count, K-1))."""
    others = scores.scatter(1, labels.view(-1, 1), -torch.inf)
    return others.topk(min(count, scores.shape[1] - 1), 1).indices


def rival(scores: Tensor, labels: Tensor) -> Tensor:
    """Log-probability of the best other class."""
    return scores.log_softmax(1).scatter(1, labels.view(-1, 1), -torch.inf).amax(1)


def dlr(scores: Tensor, labels: Tensor) -> Tensor:
    """Difference of logits ratio: margin / (largest - third largest score) (Croce & Hein 2020, eq. 6).

    It does not change when scores are scaled or shifted. With two classes there is no third
    score and the ratio would be constant: then the plain margin is used.
    """
    return margin(scores, labels) / _spread(scores, 3)


def targeted_dlr(scores: Tensor, labels: Tensor, wanted: Tensor) -> Tensor:
    """(z_t - z_y) / (z_1 - (z_3 + z_4) / 2) with sorted scores z (Croce & Hein 2020, eq. 7).

    With fewer than four classes the plain difference is used: z_1 - z_3 as the divisor would make
    the ratio constant, and its gradient zero, where the wanted class is the last of three.
    """
    own = scores.gather(1, labels.view(-1, 1)).squeeze(1)
    lead = scores.gather(1, wanted.view(-1, 1)).squeeze(1) - own
    return lead if scores.shape[1] < 4 else lead / _spread(scores, 4)


def _spread(scores: Tensor, depth: int) -> Tensor:
    """Scale of the scores: the first minus the third, or the mean of third and fourth."""
    if scores.shape[1] < 3:
        return torch.ones_like(scores[:, 0])
    top = scores.topk(depth, 1).values
    return top[:, 0] - top[:, 2:].mean(1) + 1e-12


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
