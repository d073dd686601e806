"""Steps to a hyperplane within a box, against linear programs and an optimality condition."""

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize

from holdfast.ops import balls
from holdfast.ops.hyperplanes import step_to


def case(seed: int, features: int = 7, rows: int = 6):
    """Random normals with zeros, boxes with features at their bounds, gaps of both signs."""
    rng = torch.Generator().manual_seed(seed)
    w = torch.randn(rows, features, generator=rng, dtype=torch.float64)
    w[:, 0] = 0
    low = -torch.rand(rows, features, generator=rng, dtype=torch.float64)
    high = torch.rand(rows, features, generator=rng, dtype=torch.float64)
    low[:, 1], high[:, 2] = 0, 0
    most = torch.maximum(w * low, w * high).sum(1)
    least = torch.minimum(w * low, w * high).sum(1)
    share = torch.linspace(0.1, 0.95, rows, dtype=torch.float64)
    gap = torch.where(torch.arange(rows) % 2 == 0, share * most, share * least)
    return w, gap, low, high


def best_by_program(w, gap, low, high, norm: str) -> float:
    """The least norm, from scipy."""
    w, low, high, gap = w.numpy(), low.numpy(), high.numpy(), float(gap)
    count = len(w)
    bounds = list(zip(low, high, strict=True))
    if norm == "l2":
        got = minimize(
            lambda d: d @ d, np.zeros(count), jac=lambda d: 2 * d, bounds=bounds, method="SLSQP",
            constraints={"type": "eq", "fun": lambda d: w @ d - gap, "jac": lambda d: w},
            options={"ftol": 1e-14, "maxiter": 500},
        )  # fmt: skip
        return float(np.sqrt(got.fun))
    extra = 1 if norm == "linf" else count  # one bound of all, or one for each
    cost = np.r_[np.zeros(count), np.ones(extra)]
    eye, cover = np.eye(count), np.ones((count, 1)) if norm == "linf" else np.eye(count)
    got = linprog(
        cost, A_ub=np.block([[eye, -cover], [-eye, -cover]]), b_ub=np.zeros(2 * count),
        A_eq=np.r_[w, np.zeros(extra)][None], b_eq=[gap],
        bounds=bounds + [(0, None)] * extra,
    )  # fmt: skip
    return float(got.fun)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_step_is_as_short_as_an_optimiser_finds(norm: str, seed: int) -> None:
    w, gap, low, high = case(seed)
    d = step_to(w, gap, low, high, norm)
    assert torch.allclose((w * d).sum(1), gap, atol=1e-9)
    assert (d >= low - 1e-12).all()
    assert (d <= high + 1e-12).all()
    assert (d[:, 0] == 0).all()
    wanted = [best_by_program(*row, norm) for row in zip(w, gap, low, high, strict=True)]
    assert balls.size(d, norm).tolist() == pytest.approx(wanted, rel=1e-5)


def test_no_smaller_set_of_features_reaches_the_plane() -> None:
    w, gap, low, high = case(5)
    d = step_to(w, gap, low, high, "l0")
    assert ((w * d).sum(1).abs() >= gap.abs()).all()
    assert ((w * d).sum(1) * gap >= 0).all()
    gains = torch.maximum(gap.sign()[:, None] * w * low, gap.sign()[:, None] * w * high)
    for i, count in enumerate((d != 0).sum(1).tolist()):
        sets = itertools.combinations(gains[i].tolist(), count - 1)
        assert max(sum(each) for each in sets) < abs(float(gap[i]))


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
def test_a_plane_out_of_reach_is_approached_as_far_as_the_box_allows(norm: str) -> None:
    w, _, low, high = case(3)
    most = torch.maximum(w * low, w * high).sum(1)
    d = step_to(w, 2 * most, low, high, norm)
    assert torch.allclose((w * d).sum(1), most)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
def test_no_gradient_and_no_gap_mean_no_step(norm: str) -> None:
    w, gap, low, high = case(4)
    assert (step_to(torch.zeros_like(w), gap, low, high, norm) == 0).all()
    assert (step_to(w, torch.zeros_like(gap), low, high, norm) == 0).all()
    assert step_to(w[:0], gap[:0], low[:0], high[:0], norm).shape == (0, 7)


def test_steps_of_images_keep_their_shape_and_single_precision_is_enough() -> None:
    rng = torch.Generator().manual_seed(0)
    w = torch.randn(4, 3, 32, 32, generator=rng)
    room = torch.rand(4, 3, 32, 32, generator=rng)
    for norm in ("linf", "l2", "l1"):
        d = step_to(w, torch.full((4,), 3.0), -room, 1 - room, norm)
        assert d.shape == w.shape
        assert torch.allclose((w * d).flatten(1).sum(1), torch.tensor(3.0), atol=1e-4)
