"""Is a value drawn from one law or from another? Gaussian likelihood ratios, row by row."""

from typing import NamedTuple

import torch
from torch import Tensor

FLOOR = 1e-6
"""Least standard deviation: models that agree to the last bit would give an infinite ratio."""


class Moments(NamedTuple):
    """Mean and standard deviation of every row, (N,) each."""

    mean: Tensor
    std: Tensor


def moments(values: Tensor, chosen: Tensor, pooled: bool) -> Moments:
    """Moments over the models of (M, N) `values` where `chosen` holds.

    Pooled: one standard deviation for all rows, of the residuals about each row's own mean, with
    one degree of freedom taken off per row. A few models cannot tell a row's own spread.
    """
    weight = chosen.to(values.dtype)
    count = weight.sum(0)
    mean = (values * weight).sum(0) / count.clamp(min=1)
    squares = ((values - mean) * weight).square()
    spare = (count - 1).clamp(min=0)
    if pooled:
        variance = (squares.sum() / spare.sum().clamp(min=1)).expand_as(mean)
    else:
        variance = squares.sum(0) / spare.clamp(min=1)
    return Moments(mean, variance.sqrt().clamp(min=FLOOR))


def log_ratio(values: Tensor, inside: Moments, outside: Moments) -> Tensor:
    """Log-density of `inside` less that of `outside`: positive where `inside` fits better."""
    return _log_density(values, inside) - _log_density(values, outside)


def surprise(values: Tensor, outside: Moments) -> Tensor:
    """-log P(Z > values) for Z ~ N(outside): one-sided, only values above the mean are unusual.

    It orders values as P(Z <= values) does, which rounds to one a few deviations above the mean.
    """
    beyond: Tensor = torch.special.log_ndtr((outside.mean - values) / outside.std)
    return -beyond


def _log_density(values: Tensor, law: Moments) -> Tensor:
    return -law.std.log() - ((values - law.mean) / law.std).square() / 2
