"""Bandits with priors: their updates by hand, tiles, queries, and linear models."""

import pytest
import torch

from holdfast.core.goal import AwayFrom
from holdfast.core.space import Budget
from holdfast.evasion.attacks.bandits import Bandits
from holdfast.evasion.scored import Problem, odds
from holdfast.ops import balls
from tests.black_box import check_beats_noise, check_counted, check_done_rows_are_free
from tests.oracles import check_fixed, check_masked, check_targeted, two_class


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_the_prior_learns_by_exponentiated_gradient() -> None:
    """Equal to p e^{rg} / (p e^{rg} + (1 - p) e^{-rg}) on p = (v + 1) / 2, as published."""
    prior = torch.linspace(-0.9, 0.9, 9).view(1, 9)
    gradient = torch.randn(1, 9, generator=generator())
    p = (prior + 1) / 2
    up, down = p * (0.3 * gradient).exp(), (1 - p) * (-0.3 * gradient).exp()
    got = Bandits()._learn(prior, gradient, 0.3, "linf")
    assert torch.allclose(got, 2 * up / (up + down) - 1, atol=1e-6)
    far = Bandits()._learn(prior, 1e4 * gradient, 1.0, "linf")
    assert far.isfinite().all()
    assert torch.equal(Bandits()._learn(prior, gradient, 0.5, "l2"), prior + 0.5 * gradient)


def test_tiles_are_constant_and_as_many_as_asked_for() -> None:
    method, x = Bandits(tile_size=4), torch.zeros(2, 3, 8, 12)
    tiles = torch.randn(method._tiles(x).shape, generator=generator())
    assert tiles.shape == (2, 3, 4, 4)
    image = method._up(tiles, x)
    blocks = image.view(2, 3, 4, 2, 4, 3)
    assert torch.equal(blocks, tiles[..., :, None, :, None].expand_as(blocks))
    assert Bandits()._tiles(x).shape == x.shape
    assert Bandits(tile_size=2)._tiles(torch.zeros(2, 9)).shape == (2, 9)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_first_step_by_hand(norm: str) -> None:
    target, x = two_class((10,), n=4)
    goal, budget = AwayFrom(target.answer(x)), Budget(norm, 0.01)
    method = Bandits(steps=1, probe=0.05, exploration=0.5, prior_rate=2.0, step_size=0.3)
    got = [c.x for c in method.run(target, x, goal, budget, generator())][-1]
    noise = 0.5 * torch.randn(4, 10, generator=generator()) / 10**0.5
    way = balls.steepest(noise, "l2")
    both = [odds(goal, target.scores(x + sign * 0.05 * way)) for sign in (1, -1)]
    slope = (both[0] - both[1]) / (0.5 * 0.05)
    gradient = 2.0 * slope.view(-1, 1) * noise
    prior = torch.tanh(gradient) if norm == "linf" else gradient
    moved = 0.3 * 0.01 * balls.steepest(prior, norm)
    assert torch.allclose(got, x + moved, atol=1e-6)
    rise = odds(goal, target.scores(got)) - odds(goal, target.scores(x))
    assert norm == "linf" or (rise > 0).all(), "on a linear model every estimate points uphill"


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_prior_comes_to_point_along_the_gradient(norm: str) -> None:
    """Each step goes along the prior, so the last change of the input shows it."""
    target, x = two_class((10,), n=8)
    goal, budget = AwayFrom(target.answer(x)), Budget(norm, 1e9)
    steps = list(Bandits(steps=60, step_size=1e-14).run(target, x, goal, budget, generator()))
    gradient = target.gradient(x, lambda raw: odds(goal, raw)).wrt_input
    moved = steps[-1].x.double() - steps[-2].x.double()
    cosine = torch.cosine_similarity(moved, gradient.double())
    assert float(cosine.mean()) > 0.75
    early = torch.cosine_similarity(steps[1].x.double() - x, gradient.double())
    assert float(early.mean()) < float(cosine.mean())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_linear_model_falls_as_soon_as_its_boundary_is_inside_the_ball(norm: str) -> None:
    target, x = two_class((12,))
    check_fixed(Bandits(steps=300), norm, target, x)


def test_towards_a_class_and_under_a_mask() -> None:
    check_targeted(Bandits(steps=300), "linf", slack=0.1, shape=(12,))
    check_masked(Bandits(steps=300), "linf", slack=0.1, shape=(12,))


def test_two_queries_explore_and_one_asks() -> None:
    assert check_counted(Bandits(steps=7), "linf").forwards == 5 * (1 + 3 * 7)
    assert check_counted(Bandits(steps=7), "l2").forwards == 5 * (1 + 3 * 7)
    check_done_rows_are_free(Bandits(), "linf")


def test_probes_are_valid_inputs_even_where_the_prior_is_frozen() -> None:
    target, x = two_class((4,), n=2)
    problem = Problem(target, x, AwayFrom(target.answer(x)), Budget("linf", 0.1))
    far = problem.losses(odds)(torch.full((2, 3, 4), 7.0))
    assert torch.allclose(far[:, 0], odds(problem.goal, target.scores(torch.ones(2, 4))))


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.15), ("l2", 1.2)])
def test_digits_fall_that_noise_of_the_same_size_leaves(
    digit_target, digits, norm: str, eps: float
) -> None:
    check_beats_noise(Bandits(steps=300), digit_target, digits[1], norm, eps)
