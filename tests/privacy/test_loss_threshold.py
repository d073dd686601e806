"""The loss threshold on a target whose members' losses follow a known law."""

from dataclasses import dataclass, field
from statistics import NormalDist

import pytest
import torch
from torch import Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.recipe import Background
from holdfast.core.space import Box
from holdfast.ops.stats import auc, tpr_at
from holdfast.privacy.attacks.loss_threshold import LossThreshold

RNG = torch.Generator


@dataclass(frozen=True, eq=False)
class Oracle:
    """Two scores (0, x), so that x itself is the log-odds of class 1."""

    space: Box = field(default_factory=Box)

    def scores(self, x: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(x), x], 1)


def rows(x: Tensor) -> Dataset:
    return Dataset("log-odds", x.view(-1, 1), torch.ones(len(x), dtype=torch.long), ("a", "b"))


def test_power_is_that_of_two_normal_laws_one_deviation_apart() -> None:
    n = 20_000
    x = torch.randn(2 * n, generator=RNG().manual_seed(0))
    x[:n] += 1
    scores = LossThreshold().score(Oracle(), rows(x), Background(), RNG()).numpy()
    law = NormalDist()
    assert auc(scores[:n], scores[n:]) == pytest.approx(law.cdf(2**-0.5), abs=0.006)
    expected = law.cdf(law.inv_cdf(0.01) + 1)
    assert tpr_at(scores[:n], scores[n:], 0.01) == pytest.approx(expected, abs=0.012)


def test_rows_whose_probability_rounds_to_one_are_still_told_apart() -> None:
    """softmax gives 1.0 for both in single precision."""
    scores = LossThreshold().score(Oracle(), rows(torch.tensor([20.0, 25.0])), Background(), RNG())
    assert scores[0] < scores[1]


def test_the_score_is_minus_the_cross_entropy() -> None:
    scores = LossThreshold().score(Oracle(), rows(torch.tensor([0.0])), Background(), RNG())
    assert float(scores[0]) == pytest.approx(-0.693147, abs=1e-6)
