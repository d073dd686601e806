"""Equation solving: exact against linear models, and how far rounding and cutting hold it up."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.core.recipe import Background
from holdfast.core.run import Run
from holdfast.core.space import Box
from holdfast.engine.extraction import Copy, steal
from holdfast.extraction.attacks.equation_solving import EquationSolving
from holdfast.targets.linear import LinearClassifier

ANY = Box(-torch.inf, torch.inf)


@dataclass(frozen=True, eq=False)
class Coarse:
    """A target whose probabilities pass through `change` before they are shown."""

    target: LinearClassifier
    change: Any
    space: Box = ANY

    def scores(self, x: Tensor) -> Tensor:
        return self.change(self.target.scores(x).softmax(1)).clamp(min=1e-12).log()

    def decode(self, raw: Tensor) -> Tensor:
        return raw.argmax(1)

    def answer(self, x: Tensor) -> Tensor:
        return self.target.answer(x)


def fitted(name: str, dtype: torch.dtype) -> tuple[LinearClassifier, Dataset, Tensor]:
    """A regression fitted to real data, the attacker's rows, and rows to judge on."""
    from sklearn.datasets import load_breast_cancer, load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    x, y = (load_digits if name == "digits" else load_breast_cancer)(return_X_y=True)
    x = x / 16 if name == "digits" else StandardScaler().fit_transform(x)
    model = LogisticRegression(max_iter=500).fit(x[:250], y[:250])
    weight, bias = torch.tensor(model.coef_.T), torch.tensor(model.intercept_)
    if weight.shape[1] == 1:
        weight, bias = torch.cat([-weight / 2, weight / 2], 1), torch.cat([-bias / 2, bias / 2])
    pool = Dataset(name, torch.tensor(x[250:350]), torch.zeros(100, dtype=torch.long), ("a",) * 10)
    space = Box() if name == "digits" else ANY
    return LinearClassifier(weight.to(dtype), bias.to(dtype), space), pool, torch.tensor(x[350:])


def synthetic(features: int) -> tuple[LinearClassifier, Dataset, Tensor]:
    """Weights 2 N(0, 1) / sqrt D, inputs N(0, 1)."""
    rng = torch.Generator().manual_seed(0)
    w = 2 * torch.randn(features, generator=rng, dtype=torch.float64) / features**0.5
    x = torch.randn(21_000, features, generator=rng, dtype=torch.float64)
    target = LinearClassifier(torch.stack([-w / 2, w / 2], 1), torch.zeros(2).double(), ANY)
    return target, Dataset("rows", x[:1000], torch.zeros(1000).long(), ("a", "b")), x[1000:]


def run(target: Any, pool: Dataset) -> tuple[Copy, ...]:
    return steal(EquationSolving(), target, pool, Background(), Run())[0]


def agreement(copy: Any, target: Any, x: Tensor) -> float:
    return float((copy.answer(x) == target.answer(x)).float().mean())


@pytest.mark.parametrize(
    ("name", "dtype", "error"),
    [
        ("breast cancer", torch.float64, 1e-12),
        ("breast cancer", torch.float32, 5e-5),
        ("digits", torch.float64, 1e-12),
        ("digits", torch.float32, 5e-5),
    ],
)
def test_a_regression_is_copied_exactly_with_one_query_more_than_features(
    name, dtype, error
) -> None:
    target, pool, held_out = fitted(name, dtype)
    (only,) = run(target, pool)
    assert only.queries == held_out.shape[1] + 1
    assert agreement(only.copy, target, held_out) == 1.0
    true, got = (
        v.double() - v.double().mean(1, keepdim=True) for v in (target.weight, only.copy.weight)
    )
    assert float((got - true).norm() / true.norm()) < error
    p, q = target.scores(held_out).double().softmax(1), only.copy.scores(held_out).softmax(1)
    if dtype is torch.float64:
        assert float((p * (p.log() - q.log())).sum(1).abs().max()) < 1e-10


@pytest.mark.parametrize(
    ("features", "decimals", "least"),
    [(30, 5, 0.9995), (30, 2, 0.99), (30, 1, 0.96), (200, 2, 0.99)],
)
def test_rounding_is_made_up_for_by_four_times_the_queries(features, decimals, least) -> None:
    target, pool, held_out = synthetic(features)
    coarse = Coarse(target, lambda p: (p * 10**decimals).round() / 10**decimals)
    (only,) = run(coarse, pool)
    assert only.queries == 4 * (features + 1)
    assert agreement(only.copy, target, held_out) >= least


def test_top_three_of_ten_classes_are_enough() -> None:
    target, pool, held_out = fitted("digits", torch.float64)

    def top(p: Tensor) -> Tensor:
        kept = p >= p.topk(3, 1).values[:, -1:]
        rest = p.masked_fill(kept, 0).sum(1, keepdim=True) / 7
        return torch.where(kept, p, rest)

    (only,) = run(Coarse(target, top, Box()), pool)
    assert agreement(only.copy, target, held_out) > 0.97


def test_labels_alone_still_give_a_rough_copy() -> None:
    target, pool, held_out = synthetic(30)
    hard = Coarse(target, lambda p: torch.nn.functional.one_hot(p.argmax(1), 2).double())
    (only,) = run(hard, pool)
    assert 0.75 < agreement(only.copy, target, held_out) < 0.97


@dataclass(frozen=True, eq=False)
class Bent:
    """Not linear: class 1 outside of a circle."""

    space: Box = ANY

    def scores(self, x: Tensor) -> Tensor:
        radius = x.square().sum(1, keepdim=True)
        return torch.cat([torch.zeros_like(radius), radius - 2], 1)

    def decode(self, raw: Tensor) -> Tensor:
        return raw.argmax(1)

    def answer(self, x: Tensor) -> Tensor:
        return self.decode(self.scores(x))


def test_a_model_that_is_not_linear_is_noticed() -> None:
    _, pool, _ = synthetic(30)
    first, second = run(Bent(), pool.with_rows(pool.tensor[:, :2], pool.y))
    assert first.queries == 3
    assert second.queries == 3 + 8 + 3 * 3


def test_the_points_are_valid_inputs() -> None:
    target, pool, _ = fitted("digits", torch.float64)
    asked = []

    class Watched(LinearClassifier):
        def scores(self, x: Tensor) -> Tensor:
            asked.append(x)
            return super().scores(x)

    run(Watched(target.weight, target.bias, Box()), pool)
    assert Box().contains(torch.cat(asked)).all()


def test_it_says_that_large_inputs_are_too_large() -> None:
    target, pool, _ = fitted("digits", torch.float64)
    large = pool.with_rows(torch.zeros(100, 3, 32, 32), pool.y)
    with pytest.raises(NotApplicable, match="1024 features"):
        run(target, large)
