"""Lp geometry against SciPy, brute force and the laws of the uniform distribution."""

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.optimize import linprog

from holdfast.ops import balls

NORMS = ["linf", "l2", "l1", "l0"]


def draws(rows: int, features: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, features, dtype=torch.double, generator=rng)


@pytest.mark.parametrize(("norm", "order"), [("linf", np.inf), ("l2", 2), ("l1", 1), ("l0", 0)])
def test_sizes_are_numpys_norms(norm: str, order: float) -> None:
    d = draws(20, 6)
    d[:, 2] = 0
    theirs = [np.linalg.norm(row, order) for row in d.numpy()]
    assert balls.size(d.view(20, 2, 3), norm).numpy() == pytest.approx(np.array(theirs))


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_projection_is_the_nearest_point(norm: str) -> None:
    """P is nearest to d in a convex set exactly when <d - p, z - p> <= 0 for all z in it."""
    d, eps = draws(40, 5, scale=2.0), torch.linspace(0.1, 6, 40, dtype=torch.double)
    p = balls.project(d, norm, eps)
    assert (balls.size(p, norm) <= eps + 1e-9).all()
    dual = {"linf": "l1", "l2": "l2", "l1": "linf"}[norm]
    # the largest <d - p, z> over the ball is eps times the dual norm of d - p
    excess = eps * balls.size(d - p, dual) - ((d - p) * p).sum(1)
    assert excess.max() < 1e-9


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
def test_points_inside_stay_where_they_are(norm: str) -> None:
    d = draws(10, 5, scale=0.1)
    assert torch.allclose(balls.project(d, norm, 5.0), d)


def test_projection_into_the_l1_ball_and_the_box_is_the_nearest_point() -> None:
    d, rng = draws(12, 4, scale=1.5), np.random.default_rng(0)
    low = -torch.from_numpy(rng.uniform(0, 1, (12, 4)))
    high = torch.from_numpy(rng.uniform(0, 1, (12, 4)))
    eps = torch.from_numpy(rng.uniform(0.1, 2.0, 12))
    p = balls.project_l1_box(d, low, high, eps)
    for i in range(12):
        # z = u - v with u, v >= 0 and sum u + v <= eps: the best z in direction d - p is p itself
        way = (d - p)[i].numpy()
        bounds = [(0, float(b)) for b in high[i]] + [(0, -float(b)) for b in low[i]]
        best = linprog(np.concatenate([-way, way]), np.ones((1, 8)), [float(eps[i])], bounds=bounds)
        assert -best.fun <= float(way @ p[i].numpy()) + 1e-6
    assert (balls.size(p, "l1") <= eps + 1e-9).all()
    assert ((p >= low) & (p <= high)).all()


def test_the_l0_projection_is_the_best_of_all_supports() -> None:
    d = draws(15, 5)
    for count in range(6):
        p = balls.project(d, "l0", count + 0.5)  # half a coordinate buys nothing
        for row, got in zip(d, p, strict=True):
            errors = [
                float(row.square().sum() - row[list(support)].square().sum())
                for support in combinations(range(5), count)
            ]
            assert float((row - got).square().sum()) == pytest.approx(min(errors), abs=1e-9)
            assert (got != 0).sum() <= count


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_steepest_beats_every_random_direction_of_unit_size(norm: str) -> None:
    g = draws(8, 5)
    best = balls.steepest(g, norm, share=0.01)
    assert torch.allclose(balls.size(best, norm), torch.ones(8, dtype=torch.double))
    others = draws(4000, 5, seed=1)
    others = others / balls.size(others, norm).unsqueeze(1)
    assert ((others @ g.T).amax(0) <= (best * g).sum(1) + 1e-9).all()
    dual = {"linf": "l1", "l2": "l2", "l1": "linf"}[norm]
    assert torch.allclose((best * g).sum(1), balls.size(g, dual))


def test_sparse_steps_move_the_given_share_of_the_largest_entries() -> None:
    g = draws(6, 100)
    step = balls.steepest(g, "l1", share=0.1)
    assert ((step != 0).sum(1) == 10).all()
    assert torch.allclose(balls.size(step, "l1"), torch.ones(6, dtype=torch.double))
    smallest = g.abs().masked_fill(step == 0, torch.inf).amin(1)
    assert (smallest >= g.abs().masked_fill(step != 0, 0).amax(1)).all()
    assert (step * g >= 0).all()


def test_a_zero_gradient_gives_no_step_rather_than_nan() -> None:
    for norm in ("linf", "l2"):
        assert (balls.steepest(torch.zeros(2, 3), norm) == 0).all()


@pytest.mark.parametrize(("norm", "power"), [("linf", 1), ("l2", 1), ("l1", 1)])
def test_samples_fill_the_ball_evenly(norm: str, power: int) -> None:
    """The share of a uniform ball within radius r is (r / eps)^D, in every direction alike."""
    rng = torch.Generator().manual_seed(0)
    like, eps = torch.zeros(4000, 3, dtype=torch.double), 0.7
    d = balls.sample(like, norm, eps, rng)
    share = (balls.size(d, norm) / eps) ** 3
    assert share.max() <= 1 + 1e-9
    assert stats.kstest(share.numpy(), "uniform").pvalue > 0.01
    covariance = torch.cov(d.T)
    assert torch.allclose(covariance, covariance.diag().mean() * torch.eye(3).double(), atol=0.01)
    assert (d.mean(0).abs() < 0.03).all()


@pytest.mark.parametrize("norm", NORMS)
def test_every_row_is_drawn_from_its_own_ball(norm: str) -> None:
    eps = torch.arange(1.0, 6)
    d = balls.sample(torch.zeros(5, 2, 4), norm, eps, torch.Generator().manual_seed(0))
    assert (balls.size(d, norm) <= eps * (1 + 1e-6)).all()
    assert d.flatten(1).any(1).all()


def test_sparse_samples_have_signs_on_as_many_random_coordinates_as_allowed() -> None:
    d = balls.sample(torch.zeros(3000, 6), "l0", 2.0, torch.Generator().manual_seed(0))
    assert ((d != 0).sum(1) == 2).all()
    assert set(d.unique().tolist()) == {-1.0, 0.0, 1.0}
    assert torch.allclose((d != 0).float().mean(0), torch.full((6,), 1 / 3), atol=0.03)


@pytest.mark.parametrize("norm", NORMS)
def test_no_rows_are_no_problem(norm: str) -> None:
    none = torch.zeros(0, 4)
    assert balls.project(none, norm, 1.0).shape == (0, 4)
    assert balls.steepest(none, norm).shape == (0, 4)
    assert balls.sample(none, norm, 1.0, torch.Generator()).shape == (0, 4)
    assert balls.size(none, norm).shape == (0,)


def test_the_l0_projection_into_the_box_is_the_nearest_of_all_subsets() -> None:
    rng = torch.Generator().manual_seed(3)
    d = 3 * torch.randn(20, 5, generator=rng)
    low, high = -torch.rand(20, 5, generator=rng), torch.rand(20, 5, generator=rng)
    got = balls.project_l0_box(d, low, high, torch.tensor([0.0, 1.0, 2.5, 5.0]).repeat(5))
    clipped = torch.minimum(torch.maximum(d, low), high)
    for row, count in enumerate([0, 1, 2, 5] * 5):
        choices = [list(each) for each in combinations(range(5), count)]
        options = torch.zeros(len(choices), 5)
        for option, kept in zip(options, choices, strict=True):
            option[kept] = clipped[row, kept]
        best = (options - d[row]).square().sum(1).min()
        assert torch.isclose((got[row] - d[row]).square().sum(), best, atol=1e-5)
        assert (got[row] != 0).sum() <= count
