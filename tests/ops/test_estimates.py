"""Gradient estimates against functions whose gradient is known."""

import pytest
import torch

from holdfast.ops import estimates


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


GRADIENT = torch.randn(3, 2, 5, generator=rng(7))


def linear(points: torch.Tensor) -> torch.Tensor:
    """A plane of its own for each of three rows."""
    return (points * GRADIENT.unsqueeze(1)).flatten(2).sum(2)


def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.cosine_similarity(a.flatten(1), b.flatten(1))


@pytest.mark.parametrize("signs", [False, True])
def test_antithetic_estimates_have_the_gradient_as_their_mean(signs: bool) -> None:
    at = torch.rand(3, 2, 5, generator=rng(1))
    got, seen = estimates.antithetic(linear, at, 0.1, 6000, rng(), signs=signs)
    assert (cosine(got, GRADIENT) > 0.995).all()
    assert torch.allclose(got, GRADIENT, atol=0.15)
    assert torch.allclose(seen, linear(at.unsqueeze(1)).squeeze(1), atol=1e-3)


def test_antithetic_pairs_cancel_whatever_is_even_around_the_point() -> None:
    at = torch.zeros(3, 2, 5)
    got, _ = estimates.antithetic(lambda p: p.square().flatten(2).sum(2), at, 0.1, 50, rng())
    assert got.abs().max() < 1e-4


def test_estimates_in_units_are_gradients_times_the_unit() -> None:
    at, unit = torch.rand(3, 2, 5, generator=rng(1)), torch.logspace(-1, 1, 10).view(2, 5)
    got, _ = estimates.antithetic(linear, at, 0.1, 6000, rng(), unit)
    assert (cosine(got, GRADIENT * unit) > 0.99).all()


def test_search_gradients_point_uphill_and_do_not_see_the_scale_of_values() -> None:
    at = torch.rand(3, 2, 5, generator=rng(1))
    got, mean = estimates.search_gradient(linear, at, 0.1, 6000, rng())
    scaled, _ = estimates.search_gradient(lambda p: 50 * linear(p) + 3, at, 0.1, 6000, rng())
    assert (cosine(got, GRADIENT) > 0.995).all()
    assert torch.allclose(got, scaled, atol=1e-3)
    assert torch.allclose(mean, linear(at.unsqueeze(1)).squeeze(1), atol=0.02)


def test_coordinate_quotients_are_exact_on_quadratic_functions() -> None:
    at = torch.rand(3, 10, generator=rng(1), dtype=torch.float64)
    slope = torch.randn(3, 10, generator=rng(2), dtype=torch.float64)
    index = torch.tensor([[0, 9], [3, 4], [7, 1]])

    def quadratic(points: torch.Tensor) -> torch.Tensor:
        return points.pow(2).sum(2) + (points * slope.unsqueeze(1)).sum(2)

    got, mean = estimates.coordinates(quadratic, at, index, 0.3)
    assert torch.allclose(got, (2 * at + slope).gather(1, index))
    assert torch.allclose(mean, quadratic(at.unsqueeze(1)).squeeze(1) + 0.09)


def test_without_a_prior_guided_estimates_are_those_of_random_directions() -> None:
    at, nothing = torch.rand(3, 2, 5, generator=rng(1)), torch.zeros(3, 2, 5)
    value = linear(at.unsqueeze(1)).squeeze(1)
    got = estimates.guided(linear, value, at, nothing, torch.zeros(3), 0.1, 6000, rng())
    assert (cosine(got, GRADIENT) > 0.995).all()
    assert torch.allclose(10 * got, GRADIENT, atol=0.2)  # E u u^T = I / D on the sphere


def test_a_prior_that_is_trusted_fully_is_the_estimate_and_has_its_slope() -> None:
    at, way = torch.rand(3, 2, 5, generator=rng(1)), torch.randn(3, 2, 5, generator=rng(2))
    way = way / way.flatten(1).norm(dim=1).view(-1, 1, 1)
    value = linear(at.unsqueeze(1)).squeeze(1)
    got = estimates.guided(linear, value, at, way, torch.ones(3), 0.1, 4, rng())
    slope = (way * GRADIENT).flatten(1).sum(1).view(-1, 1, 1)
    assert torch.allclose(got, slope * way, atol=1e-4)


def test_the_share_of_a_prior_is_the_best_of_all_shares() -> None:
    """Mean cosine of simulated estimates, over a grid of shares, peaks at the closed form."""
    dims, count, alpha = 40, 10, 0.35
    gradient = torch.zeros(1, dims)
    gradient[0, 0] = 1
    prior = torch.zeros(1, dims)
    prior[0, 0], prior[0, 1] = alpha, (1 - alpha**2) ** 0.5
    rows = 1500

    def loss(points: torch.Tensor) -> torch.Tensor:
        return points[..., 0]

    def quality(share: float) -> float:
        at = torch.zeros(rows, dims)
        got = estimates.guided(
            loss, torch.zeros(rows), at, prior.expand(rows, -1), torch.full((rows,), share), 1e-2,
            count, rng(),
        )  # fmt: skip
        squared = cosine(got, gradient.expand(rows, -1)).square()
        return float(squared.mean())

    best = float(estimates.prior_share(torch.tensor([alpha]), dims, count))
    assert 0.02 < best < 0.6
    grid = [quality(share) for share in (0.0, best / 4, best, min(1.0, 3 * best), 1.0)]
    assert max(grid) == grid[2]


def test_useless_priors_get_no_share_and_excellent_ones_all() -> None:
    got = estimates.prior_share(torch.tensor([0.0, 0.01, 0.9, 1.0]), 100, 10)
    assert got.tolist() == [0, 0, 1, 1]
    limit = torch.tensor([(1 / 118) ** 0.5, (19 / 118) ** 0.5])
    near = torch.cat([limit * 1.001, limit * 0.999])
    got = estimates.prior_share(near, 100, 10)  # continuous at both ends
    assert got[0] < 0.01
    assert got[3] > 0.95


def test_parts_keep_memory_bounded_and_change_nothing() -> None:
    assert list(estimates.parts(10, 2000)) == [2, 2, 2, 2, 2]
    assert list(estimates.parts(5, 10_000)) == [1] * 5
    assert list(estimates.parts(7, 0)) == [7]
