"""The edge of a half space, seen through yes-or-no answers."""

import pytest
import torch

from holdfast.ops import balls
from holdfast.ops.boundary import Boundary


def half_space(norm: str, features: int) -> tuple[Boundary, torch.Tensor]:
    """Points hold where the mean along a random normal is above 0.1."""
    normal = torch.randn(features, generator=torch.Generator().manual_seed(3))
    normal = normal / normal.norm()

    def reached(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        assert len(x) == len(rows)
        return x @ normal > 0.1

    return Boundary(reached, lambda x: x, norm, features), normal


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_search_ends_just_inside(norm: str) -> None:
    edge, normal = half_space(norm, 16)
    x, rows = torch.zeros(5, 16), torch.arange(5)
    noise = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    adv = noise + (2 - noise @ normal).unsqueeze(1) * normal
    assert edge.reached(adv, rows).all()
    found = edge.search(x, adv, rows)
    assert edge.reached(found, rows).all()
    if norm == "l2":  # a 64th of the way back it no longer holds: 16^{-3/2}
        back = found - adv / 64
    else:  # nor in a cube that is smaller by a 256th: 16^{-2}
        radius = (found.abs().amax(1) - adv.abs().amax(1) / 256).unsqueeze(1)
        back = torch.minimum(torch.maximum(adv, -radius), radius)
    assert not edge.reached(back, rows).any()


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_normal_points_into_the_region(norm: str) -> None:
    edge, normal = half_space(norm, 16)
    at, rows, delta = 0.1 * normal.expand(4, 16), torch.arange(4), torch.full((4,), 0.05)
    found = edge.normal(at, rows, delta, 4000, torch.Generator().manual_seed(0))
    assert (torch.cosine_similarity(found, normal.expand(4, 16)) > 0.97).all()


def test_the_baseline_sharpens_the_normal_where_most_answers_agree() -> None:
    edge, normal = half_space("l2", 16)
    at = (0.1 + 0.3 * 0.25) * normal.expand(200, 16)  # nine in ten probes at 0.25 still hold
    rows, delta = torch.arange(200), torch.full((200,), 0.25)
    found = edge.normal(at, rows, delta, 100, torch.Generator().manual_seed(0))
    u = balls.steepest(
        torch.empty(200, 100, 16).normal_(generator=torch.Generator().manual_seed(0)).flatten(0, 1),
        "l2",
    )
    points = at.repeat_interleave(100, 0) + 0.25 * u
    sign = edge.reached(points, rows.repeat_interleave(100)).float() * 2 - 1
    plain = (sign.unsqueeze(1) * u).view(200, 100, 16).sum(1)
    with_it, without = (
        torch.cosine_similarity(v, normal.expand(200, 16)).mean() for v in (found, plain)
    )
    assert with_it > without + 0.05


def test_the_normal_has_the_right_sign_where_all_answers_agree() -> None:
    edge, normal = half_space("l2", 16)
    inside, outside = (c * normal.expand(1, 16) for c in (0.5, -0.5))
    delta, one = torch.full((1,), 0.01), torch.arange(1)
    first, second = (
        edge.normal(at, one, delta, 50, torch.Generator().manual_seed(0))
        for at in (inside, outside)
    )
    assert torch.allclose(first, -second, atol=1e-2)
    assert first.norm() > 0


def test_a_step_is_halved_until_the_point_holds() -> None:
    edge, normal = half_space("l2", 16)
    at = 0.2 * normal.expand(3, 16)
    way = torch.stack([normal, -normal, -normal])
    moved = edge.step(at, torch.arange(3), way, torch.tensor([1.0, 1.0, 0.15]))
    assert torch.allclose(moved @ normal, torch.tensor([1.2, 0.2 - 1 / 16, 0.2 - 0.075]), atol=1e-5)
