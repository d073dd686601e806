"""The edge of a half space, seen through yes-or-no answers."""

import pytest
import torch

from holdfast.ops import balls
from holdfast.ops.boundary import Boundary, start


def half_space(norm: str, features: int) -> tuple[Boundary, torch.Tensor]:
    """Points hold where the mean along a random normal is above 0.1."""
    normal = torch.randn(features, generator=torch.Generator().manual_seed(3))
    normal = normal / normal.norm()

    def reached(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        assert len(x) == len(rows)
        return x @ normal > 0.1

    return Boundary(reached, lambda x, rows: x, norm, features), normal


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


def test_with_a_ray_the_normal_is_its_part_across_and_is_found_with_fewer_answers() -> None:
    edge, normal = half_space("l2", 64)
    side = torch.randn(64, generator=torch.Generator().manual_seed(7))
    side = torch.nn.functional.normalize(side - (side @ normal) * normal, dim=0)
    ray = (0.98 * normal + 0.2 * side).expand(20, 64)
    across = torch.nn.functional.normalize(normal - (normal @ ray[0]) * ray[0], dim=0)
    at, rows, delta = 0.1 * normal.expand(20, 64), torch.arange(20), torch.full((20,), 0.05)
    way, plain = (
        edge.normal(at, rows, delta, 200, torch.Generator().manual_seed(0), ray=way)
        for way in (ray, None)
    )
    assert ((way * ray).sum(1).abs() < 1e-4 * way.norm(dim=1)).all()
    assert (torch.cosine_similarity(way, across.expand(20, 64)) > 0.7).all()
    plain = plain - (plain * ray).sum(1, keepdim=True) * ray
    assert torch.cosine_similarity(plain, across.expand(20, 64)).mean() < 0.5


def test_a_step_is_halved_until_the_point_holds() -> None:
    edge, normal = half_space("l2", 16)
    at = 0.2 * normal.expand(3, 16)
    way = torch.stack([normal, -normal, -normal])
    moved = edge.step(at, torch.arange(3), way, torch.tensor([1.0, 1.0, 0.15]))
    assert torch.allclose(moved @ normal, torch.tensor([1.2, 0.2 - 1 / 16, 0.2 - 0.075]), atol=1e-5)


def slab(free: torch.Tensor | None = None) -> tuple[Boundary, list[int]]:
    """Points hold where their first feature is above 0.8; queries are counted."""
    asked = [0]

    def reached(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        asked[0] += len(x)
        return x[:, 0] > 0.8

    def within(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        x = x if free is None else torch.where(free > 0, x, torch.full_like(x, 0.5))
        return x.clamp(0, 1)

    return Boundary(reached, within, "l2", 4, free), asked


def test_a_radius_is_bracketed_and_bisected_from_below_and_from_above() -> None:
    edge, asked = slab()
    x = torch.full((5, 4), 0.5)
    way = torch.eye(4)[:1].expand(5, 4)

    def path(length: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        return x[which] + length.view(-1, 1) * way[which]

    guess = torch.tensor([0.301, 0.35, 0.29, 0.2, 0.1])
    found = edge.radius(path, guess, torch.arange(5), 1e-5, farther=True)
    assert torch.allclose(found[:4], torch.full((4,), 0.3), atol=1e-5)
    assert (found[:4] >= 0.3 - 1e-7).all()  # what was seen to hold
    assert found[4].isinf()  # more than 1.64 times the guess
    asked[0] = 0
    nearer = edge.radius(path, guess, torch.arange(5), 1e-5)
    assert torch.equal(nearer.isinf(), torch.tensor([False, False, True, True, True]))
    few = asked[0]
    edge.radius(path, guess[2:], torch.arange(3), 1e-5)
    assert asked[0] == few + 3


def test_a_start_is_noise_or_else_an_input_that_is_answered_as_wanted() -> None:
    edge, asked = slab()
    x, rows = torch.full((40, 4), 0.5), torch.arange(0, 40, 2)
    other = torch.tensor([[0.9, 0.3, 0.3, 0.3]]).expand(40, 4)
    box, known = (torch.zeros(()), torch.ones(())), torch.ones(40, dtype=torch.bool)
    adv, live = start(edge, x, rows, (other, known), box, torch.Generator().manual_seed(0), 1)
    assert torch.equal(live, rows)
    assert edge.reached(adv[rows], rows).all()
    assert torch.equal(adv[1::2], x[1::2])  # they want no start
    from_noise = (adv[rows] != other[rows]).any(1)
    assert 0 < int(from_noise.sum()) < 10  # a fifth of all noise
    for hint in ((other, ~known), (0.5 * other, known)):  # none known; of no use after all
        asked[0] = 0
        adv, live = start(edge, x, rows, hint, box, torch.Generator().manual_seed(0), 1)
        assert torch.equal(live, rows[from_noise])
        assert asked[0] == 20 + int(hint[1][0]) * int((~from_noise).sum())


def test_frozen_features_stay_in_starts_probes_and_normals() -> None:
    free = torch.tensor([1.0, 0.0, 1.0, 0.0])
    edge, _ = slab(free)
    x, rows = torch.full((6, 4), 0.5), torch.arange(6)
    box, rng = (torch.zeros(()), torch.ones(())), torch.Generator().manual_seed(0)
    adv, live = start(edge, x, rows, (x, rows < 0), box, rng, 60)
    assert len(live) == 6
    assert torch.equal(adv[:, free == 0], x[:, free == 0])
    adv = edge.search(x, adv, rows, 16)
    way = edge.normal(adv, rows, torch.full((6,), 0.01), 200, rng)
    assert (way[:, free == 0] == 0).all()
    assert (torch.nn.functional.normalize(way)[:, 0] > 0.97).all()
