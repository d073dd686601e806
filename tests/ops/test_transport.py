"""Projection onto a Wasserstein ball against an exact linear program and SciPy's functions."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from scipy.special import wrightomega

from holdfast.ops.transport import Ball, Window, lambert_exp, project_sinkhorn, settle


def images(n: int, side: int = 4, channels: int = 1, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(n, channels, side, side, generator=rng, dtype=torch.double)
    return x / x.sum((1, 2, 3), keepdim=True)


def exact(a: torch.Tensor, b: torch.Tensor) -> float:
    """Wasserstein distance of two images (H, W) of equal mass, by linear programming."""
    height, width = a.shape
    at = np.array([(i, j) for i in range(height) for j in range(width)], dtype=float)
    cost = np.sqrt(((at[:, None] - at[None]) ** 2).sum(2))
    n = height * width
    rows = np.kron(np.eye(n), np.ones((1, n)))
    columns = np.kron(np.ones((1, n)), np.eye(n))
    limits = np.concatenate([a.flatten().numpy(), b.flatten().numpy()])
    found = linprog(cost.flatten(), A_eq=np.vstack([rows, columns]), b_eq=limits, bounds=(0, None))
    assert found.status == 0, found.message
    return float(found.fun)


def test_lambert_of_an_exponential_is_scipys_for_any_number() -> None:
    u = torch.cat([torch.linspace(-60, 60, 241), torch.tensor([1e3, 1e4, -500.0])]).double()
    mine, theirs = lambert_exp(u), torch.from_numpy(wrightomega(u.numpy()))
    assert torch.allclose(mine, theirs, rtol=1e-9, atol=0)
    assert torch.allclose(lambert_exp(u.float()), theirs.float(), rtol=1e-4, atol=1e-30)


def test_what_is_sent_arrives_and_what_is_looked_at_lies_there() -> None:
    window = Window.square(3, torch.zeros(1))
    assert window.offsets[0] == (0, 0)
    assert window.cost.flatten()[:2].tolist() == [0.0, 1.0]
    place = window.offsets.index((0, 1))
    plan = torch.zeros(1, 1, 9, 3, 3)
    plan[0, 0, place, 1, 1] = 1
    assert window.arrived(plan)[0, 0].nonzero().tolist() == [[1, 2]]
    x = torch.arange(9.0).view(1, 1, 3, 3)
    assert window.look(x, -1.0)[0, 0, place].tolist() == [[1, 2, -1], [4, 5, -1], [7, 8, -1]]


@pytest.mark.parametrize("radius", [0.02, 0.2, 0.6])
@pytest.mark.parametrize("steps", [1, 5, 40])
def test_the_result_is_in_the_ball_by_linear_program_and_keeps_all_mass(
    radius: float, steps: int
) -> None:
    x, w = images(3), images(3, seed=1) * 1.5 - 0.02
    z, _ = project_sinkhorn(w, x, Ball(Window.square(5, x), radius), 500.0, steps)
    assert torch.allclose(z.sum((1, 2, 3)), torch.ones(3).double(), atol=1e-12)
    assert (z >= -1e-15).all()
    for a, b in zip(x, z, strict=True):
        assert exact(a[0], b[0]) <= radius * (1 + 1e-9)


def test_it_uses_the_radius_and_comes_nearer_to_the_point() -> None:
    x, w = images(4), images(4, seed=1)
    distance = torch.tensor([exact(a[0], b[0]) for a, b in zip(x, w, strict=True)])
    radius = float(distance.min()) / 2
    z, _ = project_sinkhorn(w, x, Ball(Window.square(7, x), radius), 3000.0, 100)
    used = torch.tensor([exact(a[0], b[0]) for a, b in zip(x, z, strict=True)])
    assert (used > 0.85 * radius).all()
    assert ((z - w).square().sum((1, 2, 3)) < (x - w).square().sum((1, 2, 3))).all()


def test_it_is_nearly_as_near_as_the_best_point_of_the_ball() -> None:
    """On a row of three pixels the best point is known: mass moves from the first to the second."""
    x = torch.tensor([0.6, 0.2, 0.2]).double().view(1, 1, 1, 3)
    w = torch.tensor([0.2, 0.6, 0.2]).double().view(1, 1, 1, 3)
    z, _ = project_sinkhorn(w, x, Ball(Window.square(3, x), 0.1), 5000.0, 200)
    best = torch.tensor([0.5, 0.3, 0.2]).double().view(1, 1, 1, 3)
    assert torch.allclose(z, best, atol=0.005)


def test_a_point_inside_of_the_ball_is_nearly_its_own_projection() -> None:
    x, w = images(3), images(3, seed=1)
    z, _ = project_sinkhorn(w, x, Ball(Window.square(7, x), 10.0), 20_000.0, 200)
    assert (z - w).abs().max() < 0.004


def test_no_pixel_ends_above_the_largest_value_and_no_mass_is_lost_for_it() -> None:
    x, w = images(4, side=6), torch.zeros(4, 1, 6, 6).double()
    w[:, :, 2:4, 2:4] = 1
    high = float(x.max())
    free, _ = project_sinkhorn(w, x, Ball(Window.square(5, x), 1.0), 500.0, 30)
    held, _ = project_sinkhorn(w, x, Ball(Window.square(5, x), 1.0, high), 500.0, 30)
    assert free.max() > 1.5 * high
    assert held.max() <= high * (1 + 1e-3)
    assert torch.allclose(held.sum((1, 2, 3)), torch.ones(4).double(), atol=1e-12)
    for a, b in zip(x, held, strict=True):
        assert exact(a[0], b[0]) <= 1.0


def test_going_on_from_the_duals_is_the_same_as_not_having_stopped() -> None:
    x, w, window = images(2), images(2, seed=1), Window.square(5, images(1))
    whole, _ = project_sinkhorn(w, x, Ball(window, 0.2), 500.0, 12)
    _, duals = project_sinkhorn(w, x, Ball(window, 0.2), 500.0, 5)
    rest, _ = project_sinkhorn(w, x, Ball(window, 0.2), 500.0, 7, start=duals)
    assert torch.allclose(whole, rest, atol=1e-12)


def test_mass_stays_in_its_channel() -> None:
    x, w = images(2, channels=3), images(2, channels=3, seed=1)
    z, _ = project_sinkhorn(w, x, Ball(Window.square(5, x), 0.5), 500.0, 20)
    assert torch.allclose(z.sum((2, 3)), x.sum((2, 3)), atol=1e-12)


def test_settling_scales_the_moved_mass_alone() -> None:
    x = torch.tensor([1.0, 0.0]).double().view(1, 1, 1, 2)
    window = Window.square(3, x)
    plan = torch.zeros(1, 1, 9, 1, 2).double()
    plan[0, 0, 0, 0, 0], plan[0, 0, window.offsets.index((0, 1)), 0, 0] = 0.2, 0.8
    assert settle(plan, x, Ball(window, 10.0)).flatten().tolist() == pytest.approx([0.2, 0.8])
    assert settle(plan, x, Ball(window, 0.1)).flatten().tolist() == pytest.approx([0.9, 0.1])
