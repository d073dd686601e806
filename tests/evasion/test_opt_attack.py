"""The OPT attack's lengths and slope; what it reaches on flat boundaries is in test_decisions.py."""

import torch

from holdfast.evasion.attacks.opt_attack import OPTAttack
from holdfast.evasion.decisions import Rays
from tests.hunting import hunt_on, outward
from tests.oracles import two_class


def rays_on(features: int, n: int):
    target, x = two_class((features,), n=n)
    hunt = hunt_on(target, x)
    rays = Rays.first(hunt, 0.2, 0.001, 0, torch.Generator().manual_seed(0))
    return target, x, hunt, rays


def test_coarse_and_fine_search_find_the_boundary_beside_a_ray_nearer_or_farther() -> None:
    target, x, hunt, rays = rays_on(6, 16)
    beside = 0.02 * torch.randn(16, 6, generator=torch.Generator().manual_seed(3))
    theta = torch.nn.functional.normalize(rays.theta + beside)
    closed = target.distance(x, "l2") / (theta * outward(target, x)).sum(1)
    both = rays.length(hunt, theta, rays.g, hunt.rows, beside=True)
    nearer = rays.length(hunt, theta, rays.g, hunt.rows)
    far = closed < 0.35  # beyond, rays leave the box
    assert far.sum() > 10
    assert torch.allclose(both[far], closed[far], rtol=1e-4)
    worse = closed > rays.g
    assert torch.equal(nearer.isinf()[far], worse[far])  # one query is all that those get
    assert torch.allclose(nearer[far & ~worse], closed[far & ~worse], rtol=1e-4)
    assert 0 < int((far & worse).sum()) < int(far.sum())


def test_the_slope_is_the_gradient_of_the_length() -> None:
    """It is -g (n - (n theta) theta) / (n theta), and E[u u'] = I / D."""
    target, x, hunt, rays = rays_on(6, 12)
    method = OPTAttack(directions=120)
    slope, tried = method.slope(hunt, rays, torch.Generator().manual_seed(0))
    normal = outward(target, x)
    along = (normal * rays.theta).sum(1, keepdim=True)
    gradient = -rays.g.view(-1, 1) * (normal - along * rays.theta) / along
    assert (torch.cosine_similarity(slope, gradient) > 0.85).all()
    size = slope.norm(dim=1) * 6 / gradient.norm(dim=1)
    assert ((size > 0.7) & (size < 1.3)).all()
    assert (tried.g < rays.g).all()
    assert (rays.descend(hunt, slope).g < tried.g).float().mean() > 0.9


def test_the_best_direction_tried_is_taken_where_the_step_does_not_help() -> None:
    _, _, hunt, rays = rays_on(6, 6)
    slope, tried = OPTAttack().slope(hunt, rays, torch.Generator().manual_seed(0))
    stepped = rays.descend(hunt, -slope)  # the wrong way: no step is taken
    best = stepped.where(stepped.g <= tried.g, tried)
    assert torch.equal(best.g, tried.g)
    assert torch.equal(best.theta, tried.theta)
