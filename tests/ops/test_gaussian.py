"""Gaussian processes against their definition and closed forms."""

import math

import pytest
import torch

from holdfast.ops import gaussian


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def data(n: int = 3, count: int = 12, dims: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    points = torch.rand(n, count, dims, generator=rng()).double()
    return points, (3 * points[..., 0]).sin() + points[..., 1] ** 2


def test_the_kernel_is_matern_five_halves() -> None:
    a, b = torch.tensor([[[0.0, 0.0]]]), torch.tensor([[[0.3, 0.4]]])
    d = math.sqrt(5) * 0.5 / 2.0
    want = (1 + d + d * d / 3) * math.exp(-d)
    assert float(gaussian.matern(a, b, torch.tensor([2.0]))) == pytest.approx(want, rel=1e-6)
    assert float(gaussian.matern(a, a, torch.tensor([2.0]))) == 1.0


def test_the_posterior_is_that_of_the_textbook() -> None:
    points, values = data(1)
    got = gaussian.fit(points, values)
    new = torch.rand(1, 5, 2, generator=rng(1)).double()
    k = gaussian.matern(points, points, got.scale) + gaussian.NOISE * torch.eye(12)
    cross = gaussian.matern(new, points, got.scale)[0]
    y = (values - values.mean()) / values.std(correction=0)
    mean = values.mean() + values.std(correction=0) * (cross @ torch.linalg.inv(k[0]) @ y[0])
    var = 1 - (cross @ torch.linalg.inv(k[0]) * cross).sum(1)
    m, s = got.at(new)
    assert torch.allclose(m[0], mean, rtol=1e-5)
    assert torch.allclose(s[0], values.std(correction=0) * var.sqrt(), rtol=1e-4)


def test_it_passes_through_the_data_and_is_unsure_far_from_it() -> None:
    points, values = data()
    got = gaussian.fit(points, values)
    mean, deviation = got.at(points)
    assert torch.allclose(mean, values, atol=0.02)
    assert (deviation < 0.05 * got.spread).all()
    far, unsure = got.at(points + 1000)
    assert torch.allclose(far, got.mean.expand_as(far), atol=1e-3)
    assert torch.allclose(unsure, got.spread.expand_as(unsure), rtol=1e-3)


def test_rows_are_problems_of_their_own_with_scales_of_their_own() -> None:
    points, values = data(2, 25, 1 + 1)
    values[1] = (60 * points[1, :, 0]).sin()  # so rough that only a short scale explains it
    both = gaussian.fit(points, values)
    assert both.scale[1] < both.scale[0]
    for i in range(2):
        alone = gaussian.fit(points[i : i + 1], values[i : i + 1])
        assert torch.allclose(alone.at(points[i : i + 1])[0][0], both.at(points)[0][i])


def test_expected_improvement_is_the_mean_of_what_is_gained() -> None:
    mean, deviation, best = torch.tensor([0.3]), torch.tensor([0.7]), torch.tensor([0.5])
    draws = mean + deviation * torch.randn(400_000, generator=rng())
    want = (draws - best).clamp(min=0).mean()
    got = gaussian.expected_improvement(mean.double(), deviation.double(), best.double())
    assert float(got) == pytest.approx(float(want), rel=0.01)


def test_constant_values_break_nothing() -> None:
    points, _ = data()
    mean, deviation = gaussian.fit(points, torch.ones(3, 12)).at(points)
    assert torch.allclose(mean, torch.ones_like(mean))
    assert deviation.isfinite().all()
