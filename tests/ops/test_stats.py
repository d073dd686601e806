"""Intervals that cover as often as they say, and curves that agree with references."""

import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest, norm
from sklearn.metrics import roc_auc_score, roc_curve

from holdfast.ops.stats import auc, auc_interval, clopper_pearson, mean_interval, roc, tpr_at

RNG = np.random.default_rng


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (10, 10), (3, 17), (597, 600), (1, 1)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999])
def test_the_binomial_interval_is_scipys_exact_one(hits: int, n: int, confidence: float) -> None:
    exact = binomtest(hits, n).proportion_ci(confidence, method="exact")
    assert clopper_pearson(hits, n, confidence) == pytest.approx((exact.low, exact.high))


def test_no_observation_says_nothing_and_no_failure_has_the_rule_of_three() -> None:
    assert clopper_pearson(0, 0) == (0, 1)
    assert clopper_pearson(0, 100).high == pytest.approx(1 - 0.025 ** (1 / 100))


@pytest.mark.parametrize("p", [0.02, 0.5, 0.97])
def test_the_binomial_interval_covers_at_least_as_often_as_it_says(p: float) -> None:
    n = 40
    covers = sum(
        binom.pmf(k, n, p)
        for k in range(n + 1)
        if clopper_pearson(k, n).low <= p <= clopper_pearson(k, n).high
    )
    assert covers >= 0.95


def test_the_interval_of_a_mean_covers_as_often_as_it_says_even_for_five_values() -> None:
    draws = RNG(0).normal(3, 2, (4000, 5))
    hits = sum(low <= 3 <= high for low, high in map(mean_interval, draws))
    assert hits / 4000 == pytest.approx(0.95, abs=0.012)
    assert mean_interval(np.array([1.0])) == (-math.inf, math.inf)


def test_the_area_under_the_curve_is_scikit_learns_with_and_without_ties() -> None:
    rng = RNG(1)
    for round_to in (10, 0):
        a, b = rng.normal(1, 1, 80).round(round_to), rng.normal(0, 1, 120).round(round_to)
        truth = roc_auc_score([1] * 80 + [0] * 120, np.concatenate([a, b]))
        assert auc(a, b) == pytest.approx(truth)
        assert auc(b, a) == pytest.approx(1 - truth)


def test_the_interval_of_the_area_covers_the_known_area_of_two_normals() -> None:
    rng, truth = RNG(2), float(norm.cdf(1 / math.sqrt(2)))
    hits = 0
    for _ in range(1000):
        low, high = auc_interval(rng.normal(1, 1, 60), rng.normal(0, 1, 90))
        hits += low <= truth <= high
    assert hits / 1000 == pytest.approx(0.95, abs=0.025)


def test_the_curve_is_scikit_learns_and_a_rate_is_read_off_it() -> None:
    rng = RNG(3)
    a, b = rng.normal(1, 1, 50), rng.normal(0, 1, 70)
    false, true = roc(a, b)
    other_false, other_true, _ = roc_curve(
        [1] * 50 + [0] * 70, np.concatenate([a, b]), drop_intermediate=False
    )
    assert false == pytest.approx(other_false)
    assert true == pytest.approx(other_true)
    assert tpr_at(a, b, 0.1) == other_true[other_false <= 0.1].max()
    assert tpr_at(np.array([2.0, 0.5]), np.array([1.0, 0.0]), 0.0) == 0.5
