"""Sign-OPT's slope, from one query per direction; what it reaches is in test_decisions.py."""

from dataclasses import replace

import torch

from holdfast.core.goal import AwayFrom
from holdfast.core.space import Budget
from holdfast.evasion.attacks.sign_opt import SignOPT
from holdfast.evasion.decisions import Rays
from tests.hunting import hunt_on, outward
from tests.oracles import two_class


def rays_on(features: int, n: int):
    target, x = two_class((features,), n=n)
    hunt = hunt_on(target, x)
    rays = Rays.first(hunt, 0.2, 0.001, 0, torch.Generator().manual_seed(0))
    return target, x, hunt, rays


def test_the_length_of_a_ray_is_that_of_the_closed_form() -> None:
    target, x, _, rays = rays_on(6, 12)
    closed = target.distance(x, "l2") / (rays.theta * outward(target, x)).sum(1)
    assert torch.allclose(rays.g, closed, rtol=1e-4)


def test_the_slope_is_the_projection_of_the_normal_on_the_plane_across_the_ray() -> None:
    """g = gap / (n theta), so its gradient points along -(n - (n theta) theta)."""
    target, x, hunt, rays = rays_on(6, 12)
    slope = SignOPT().slope(hunt, rays, 400, torch.Generator().manual_seed(0))
    normal = outward(target, x)
    across = normal - (normal * rays.theta).sum(1, keepdim=True) * rays.theta
    slope = slope - (slope * rays.theta).sum(1, keepdim=True) * rays.theta
    assert (torch.cosine_similarity(slope, -across) > 0.97).all()


def test_a_direction_costs_one_query() -> None:
    _, _, hunt, rays = rays_on(6, 5)
    asked, reached = [0], hunt.edge.reached

    def counted(points: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        asked[0] += len(points)
        return reached(points, rows)

    object.__setattr__(hunt.edge, "reached", counted)
    SignOPT().slope(hunt, rays, 37, torch.Generator().manual_seed(0))
    assert asked[0] == 5 * 37


def test_descent_shortens_every_ray_and_ascent_none() -> None:
    target, x, hunt, rays = rays_on(6, 12)
    slope = SignOPT().slope(hunt, rays, 100, torch.Generator().manual_seed(0))
    down, up = rays.descend(hunt, slope), rays.descend(hunt, -slope)
    assert (down.g < rays.g).all()
    assert torch.allclose(up.g, rays.g, rtol=1e-5)  # no step along the wrong sign is ever taken
    assert (target.answer(down.points(hunt)) != target.answer(x)).all()


def test_steps_that_became_tiny_start_anew_and_probe_nearer_by() -> None:
    _, _, hunt, rays = rays_on(6, 3)
    stuck = rays.descend(hunt, -SignOPT().slope(hunt, rays, 100, torch.Generator().manual_seed(0)))
    tiny = stuck.eps < rays.eps
    assert tiny.any()
    assert (stuck.alpha[tiny] == 1).all()
    assert torch.allclose(stuck.eps[tiny], rays.eps[tiny] / 10)


def test_directions_grow_with_the_root_of_the_iteration(monkeypatch) -> None:
    target, x = two_class((6,), n=4)
    counts, slope = [], SignOPT.slope

    def counted(self, hunt, rays, count, rng):
        counts.append(count)
        return slope(self, hunt, rays, count, rng)

    monkeypatch.setattr(SignOPT, "slope", counted)
    goal, budget = AwayFrom(target.answer(x)), Budget("l2", torch.inf)
    method = SignOPT(iterations=9, directions=10)
    list(method.run(target, x, goal, budget, torch.Generator().manual_seed(0)))
    assert counts == [10, 14, 17, 20, 22, 24, 26, 28, 30]


def leaving(rays: Rays, feature: int) -> Rays:
    """The rays bent so that one feature ends far below its bound of 0."""
    ray = rays.g[:, None] * rays.theta
    ray[:, feature] = -3.0
    g = ray.norm(dim=1)
    return replace(rays, theta=ray / g[:, None], g=g)


def test_a_feature_beyond_its_bound_has_no_slope_and_the_others_have() -> None:
    _, _, hunt, rays = rays_on(6, 5)
    slope = SignOPT().slope(hunt, leaving(rays, 2), 50, torch.Generator().manual_seed(0))
    assert (slope[:, 2] == 0).all()
    assert (slope[:, [0, 1, 3, 4, 5]].abs().sum(1) > 0).all()


def test_recalled_rays_meet_the_same_valid_points_in_no_greater_length() -> None:
    _, _, hunt, rays = rays_on(6, 5)
    rays = leaving(rays, 2)
    back = rays.recalled(hunt, 1.0, torch.Generator().manual_seed(0))

    def point(some: Rays) -> torch.Tensor:
        return hunt.x + some.g[:, None] * some.theta

    assert torch.allclose(point(back), hunt.edge.within(point(rays), hunt.rows), atol=1e-6)
    assert torch.allclose(back.theta.norm(dim=1), torch.ones(5))
    assert (back.g < rays.g).all()
    none = rays.recalled(hunt, 0.0, torch.Generator().manual_seed(0))
    assert torch.allclose(none.g, rays.g)


def test_a_feature_that_was_recalled_onto_its_bound_has_a_slope_again() -> None:
    _, _, hunt, rays = rays_on(6, 5)
    rng = torch.Generator().manual_seed(0)
    back = leaving(rays, 2).recalled(hunt, 1.0, rng)
    assert (SignOPT().slope(hunt, back, 50, rng)[:, 2] != 0).all()
