"""Privacy accounting of the subsampled Gaussian mechanism, written out from the paper."""

import math

import numpy as np
from scipy.special import gammaln, logsumexp

ORDERS = tuple(range(2, 129))
"""Whole Renyi orders over which the bound is minimised."""


def renyi(order: int, share: float, noise: float) -> float:
    """Renyi divergence of one step at a whole order >= 2 (Mironov et al. 2019, sec. 3.3).

    1 / (a - 1) log sum_k C(a, k) (1 - q)^(a - k) q^k exp(k (k - 1) / (2 sigma^2))

    Args:
        order: a.
        share: q, chance of each row to be in a step's batch (Poisson sampling).
        noise: sigma, noise in units of the clipping bound.
    """
    if share == 1:
        return order / (2 * noise**2)
    k = np.arange(order + 1)
    choose = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
    chance = (order - k) * math.log1p(-share) + k * math.log(share)
    return float(logsumexp(choose + chance + k * (k - 1) / (2 * noise**2))) / (order - 1)


def epsilon(share: float, noise: float, steps: int, delta: float) -> float:
    """Smallest epsilon that the Renyi bound gives for `steps` steps (Canonne et al. 2020, prop. 12).

    With whole orders only it is a few percent above what all real orders would give.
    """
    return min(
        steps * renyi(a, share, noise) + math.log1p(-1 / a) - math.log(delta * a) / (a - 1)
        for a in ORDERS
    )
