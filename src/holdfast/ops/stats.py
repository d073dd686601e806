"""Intervals and curves: no rate leaves Holdfast without its sample size and its uncertainty."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import beta, norm, t

Floats = npt.NDArray[np.float64]


class Interval(NamedTuple):
    """Lower and upper end of a confidence interval."""

    low: float
    high: float


def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Exact interval of a binomial rate; [0, 1] when nothing was observed."""
    if n == 0:
        return Interval(0.0, 1.0)
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else float(beta.ppf(tail, successes, n - successes + 1))
    high = 1.0 if successes == n else float(beta.ppf(1 - tail, successes + 1, n - successes))
    return Interval(low, high)


def mean_interval(values: Floats, confidence: float = 0.95) -> Interval:
    """Student's interval of a mean, exact for normal values; unbounded for fewer than two."""
    if len(values) < 2:
        return Interval(-math.inf, math.inf)
    wide = float(t.ppf((1 + confidence) / 2, len(values) - 1))
    half = wide * float(values.std(ddof=1)) / math.sqrt(len(values))
    centre = float(values.mean())
    return Interval(centre - half, centre + half)


def auc(positives: Floats, negatives: Floats) -> float:
    """Chance that a positive scores above a negative, ties counted half (Mann-Whitney)."""
    both = np.concatenate([positives, negatives])
    order = both.argsort(kind="stable")
    ranks = np.empty(len(both))
    ranks[order] = np.arange(1, len(both) + 1)
    _, inverse, counts = np.unique(both, return_inverse=True, return_counts=True)
    mean_rank = np.bincount(inverse, ranks) / counts
    n = len(positives)
    return float((mean_rank[inverse[:n]].sum() - n * (n + 1) / 2) / (n * len(negatives)))


def auc_interval(positives: Floats, negatives: Floats, confidence: float = 0.95) -> Interval:
    """Interval of the AUC by the structural components of DeLong et al. 1988."""
    m, n = len(positives), len(negatives)
    if m < 2 or n < 2:
        return Interval(0.0, 1.0)
    spread = np.sort(negatives)
    of_positive = (
        np.searchsorted(spread, positives, "left") + np.searchsorted(spread, positives, "right")
    ) / (2 * n)
    spread = np.sort(positives)
    of_negative = 1 - (
        np.searchsorted(spread, negatives, "left") + np.searchsorted(spread, negatives, "right")
    ) / (2 * m)
    variance = of_positive.var(ddof=1) / m + of_negative.var(ddof=1) / n
    half = float(norm.ppf((1 + confidence) / 2)) * math.sqrt(float(variance))
    centre = auc(positives, negatives)
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def roc(positives: Floats, negatives: Floats) -> tuple[Floats, Floats]:
    """False- and true-positive rates over all thresholds, from (0, 0) to (1, 1)."""
    thresholds = np.unique(np.concatenate([positives, negatives]))[::-1]
    false = 1 - np.searchsorted(np.sort(negatives), thresholds, "left") / len(negatives)
    true = 1 - np.searchsorted(np.sort(positives), thresholds, "left") / len(positives)
    return np.concatenate([[0.0], false]), np.concatenate([[0.0], true])


def tpr_at(positives: Floats, negatives: Floats, fpr: float) -> float:
    """Largest true-positive rate whose false-positive rate is at most `fpr`."""
    false, true = roc(positives, negatives)
    return float(true[false <= fpr + 1e-12].max())
