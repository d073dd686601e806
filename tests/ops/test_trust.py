"""Steps along a hyperplane within a trust region, against a general optimiser."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from holdfast.ops import balls
from holdfast.ops.hyperplanes import step_to
from holdfast.ops.trust import along


def case(seed: int, features: int = 6, rows: int = 5):
    rng = torch.Generator().manual_seed(seed)
    double = torch.float64
    w = torch.randn(rows, features, generator=rng, dtype=double)
    low = -0.1 - 0.9 * torch.rand(rows, features, generator=rng, dtype=double)
    high = 0.1 + 0.9 * torch.rand(rows, features, generator=rng, dtype=double)
    delta = low + (high - low) * torch.rand(rows, features, generator=rng, dtype=double)
    gap = 0.1 * torch.randn(rows, generator=rng, dtype=double)
    radius = gap.abs() / w.norm(dim=1) + torch.tensor([0.05, 0.1, 0.3, 0.6, 3.0], dtype=double)
    return delta, w, gap, (low, high), radius


def by_program(delta, w, gap, low, high, radius, norm: str, start) -> float:
    """The least norm from scipy, begun at a feasible point; z = up - down makes l1 smooth."""
    delta, w, low, high, start = (v.numpy() for v in (delta, w, low, high, start))
    n, gap, radius = len(w), float(gap), float(radius)
    split = np.block([np.eye(n), -np.eye(n)])
    z = (lambda v: split @ v) if norm == "l1" else (lambda v: v[:n])
    cost = {"l2": lambda v: v @ v, "linf": lambda v: v[-1], "l1": lambda v: v.sum()}[norm]
    rules = [
        {"type": "eq", "fun": lambda v: w @ (z(v) - delta) - gap},
        {"type": "ineq", "fun": lambda v: radius**2 - ((z(v) - delta) ** 2).sum()},
    ]
    bounds = list(zip(low, high, strict=True))
    if norm == "linf":
        rules += [{"type": "ineq", "fun": lambda v: np.r_[v[-1] - v[:n], v[-1] + v[:n]]}]
        bounds, start = [*bounds, (0, None)], np.r_[start, np.abs(start).max()]
    if norm == "l1":
        bounds = [(0, b) for b in high] + [(0, -a) for a in low]
        start = np.r_[np.maximum(start, 0), np.maximum(-start, 0)]
    got = minimize(
        cost, start, bounds=bounds, constraints=rules, method="SLSQP",
        options={"ftol": 1e-13, "maxiter": 1000},
    )  # fmt: skip
    return float(np.sqrt(got.fun)) if norm == "l2" else float(got.fun)


@pytest.mark.parametrize("norm", ["l2", "linf", "l1"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_step_is_as_good_as_an_optimiser_finds(norm: str, seed: int) -> None:
    delta, w, gap, room, radius = case(seed)
    z = along(delta, w, gap, room, radius, norm)
    assert torch.allclose((w * (z - delta)).sum(1), gap, atol=1e-6)
    assert ((z - delta).norm(dim=1) <= radius * (1 + 1e-3)).all()
    assert (z >= room[0] - 1e-9).all()
    assert (z <= room[1] + 1e-9).all()
    plain = delta + (gap / w.square().sum(1)).unsqueeze(1) * w
    wanted = [
        by_program(*row, norm, start)
        for *row, start in zip(delta, w, gap, *room, radius, plain, strict=True)
    ]
    assert balls.size(z, norm).tolist() == pytest.approx(wanted, rel=5e-3)


@pytest.mark.parametrize("norm", ["l2", "linf", "l1", "l0"])
def test_a_wide_region_gives_the_least_change_of_all(norm: str) -> None:
    delta, w, gap, room, radius = case(3)
    z = along(delta, w, gap, room, 100 * radius, norm)
    least = balls.size(step_to(w, gap + (w * delta).sum(1), *room, norm), norm)
    assert torch.allclose(balls.size(z, norm), least, rtol=5e-3)
    assert torch.allclose((w * (z - delta)).sum(1), gap, atol=1e-6)


@pytest.mark.parametrize("norm", ["l2", "linf", "l1", "l0"])
def test_a_plane_out_of_reach_is_approached_by_a_step_of_full_length(norm: str) -> None:
    delta, w, gap, _, _ = case(4)
    room = (torch.full_like(w, -9), torch.full_like(w, 9))
    radius = 0.3 * gap.abs() / w.norm(dim=1)
    step = along(delta, w, gap, room, radius, norm) - delta
    assert torch.allclose(step, (radius * gap.sign() / w.norm(dim=1)).unsqueeze(1) * w, atol=1e-6)


def test_few_features_stay_few() -> None:
    delta, w, gap, room, radius = case(5, features=20)
    delta[:, 5:] = 0
    z = along(delta, w, gap, room, radius, "l0")
    assert torch.allclose((w * (z - delta)).sum(1), gap, atol=1e-6)
    assert ((z - delta).norm(dim=1) <= radius * (1 + 1e-6)).all()
    assert (balls.size(z, "l0") <= 6).all()
    assert (balls.size(z, "l0")[-2:] < 5).all()


def test_no_normal_means_no_step() -> None:
    delta, w, gap, room, radius = case(6)
    for norm in ("l2", "linf", "l1", "l0"):
        z = along(delta, torch.zeros_like(w), gap, room, radius, norm)
        assert torch.allclose(z, delta)
