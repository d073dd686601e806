"""Bayesian-optimisation attack: what its directions stand for, its queries, and linear models."""

import pytest
import torch

from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.bayes_opt import BayesOpt
from holdfast.evasion.attacks.random_walk import RandomWalk
from holdfast.ops import balls, dct
from tests.black_box import check_beats_noise, check_counted, check_done_rows_are_free
from tests.oracles import check_fixed, check_masked, check_targeted, two_class


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_directions_are_low_frequencies_of_every_channel() -> None:
    x = torch.zeros(3, 2, 9, 7)
    method = BayesOpt(side=3)
    assert method._dims(x) == 2 * 3 * 3
    z = torch.randn(3, 18, generator=generator())
    spectrum = dct.forward(method._waves(x, z))
    assert torch.allclose(spectrum[:, :, :3, :3].flatten(1), z, atol=1e-5)
    spectrum[:, :, :3, :3] = 0
    assert spectrum.abs().max() < 1e-5
    assert torch.allclose(method._waves(x, z).flatten(1).norm(dim=1), z.norm(dim=1), atol=1e-5)
    assert method._dims(torch.zeros(2, 6)) == 6
    assert method._dims(torch.zeros(2, 60)) == 9


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_every_query_uses_the_whole_budget(norm: str) -> None:
    target, x = two_class((10,), n=3)
    goal, eps = AwayFrom(target.answer(x)), 1e-3
    method = BayesOpt(steps=6)
    for candidate in list(method.run(target, x, goal, Budget(norm, eps), generator()))[1:]:
        size = balls.size(candidate.x - x, norm)
        assert torch.allclose(size, torch.full_like(size, eps), rtol=1e-3)
        if norm == "linf":
            assert torch.allclose((candidate.x - x).abs(), torch.full_like(x, eps), rtol=1e-3)


def test_the_next_query_goes_uphill_of_what_is_known() -> None:
    """A linear function of the direction, told at 30 places: the guess must lie near its gradient."""
    slope = torch.nn.functional.normalize(torch.randn(5, 1, 4, generator=generator()), dim=2)
    tried = torch.nn.functional.normalize(torch.randn(5, 30, 4, generator=generator()), dim=2)
    values = (tried * slope).sum(2)
    for acquisition in ("ei", "ucb"):
        guess = BayesOpt(acquisition=acquisition)._next(tried, values, generator())
        assert torch.allclose(guess.norm(dim=1), torch.ones(5))
        cosine = (guess * slope.squeeze(1)).sum(1)
        assert (cosine > values.amax(1) - 0.02).all()
        assert float(cosine.mean()) > 0.95
        wrong = BayesOpt(acquisition=acquisition)._next(tried, -values, generator())
        assert float((wrong * slope.squeeze(1)).sum(1).mean()) < -0.95


@pytest.mark.parametrize("acquisition", ["ei", "ucb"])
def test_a_linear_model_falls_in_l2_within_sixty_queries(acquisition: str) -> None:
    target, x = two_class((8,), n=8)
    method = BayesOpt(steps=55, acquisition=acquisition)
    check_fixed(method, "l2", target, x)


def test_a_linear_model_falls_in_linf_within_a_third_more() -> None:
    """Signs make the function of the direction jump, which the model smooths over."""
    target, x = two_class((8,), n=4)
    check_fixed(BayesOpt(steps=80, acquisition="ucb"), "linf", target, x, slack=0.33)


def test_towards_a_class_and_under_a_mask() -> None:
    check_targeted(BayesOpt(steps=40), "l2", slack=0.1, shape=(6,))
    check_masked(BayesOpt(steps=40), "l2", slack=0.1, shape=(6,))


def test_it_needs_fewer_queries_than_a_random_walk() -> None:
    target, x = two_class((8,), n=8)
    goal, budget = AwayFrom(target.answer(x)), Budget("l2", 1.05 * target.distance(x, "l2"))
    model, walk = (
        attack(method, target, x, goal, budget, Run())
        for method in (BayesOpt(steps=60), RandomWalk(steps=400))
    )
    assert model.success.all()
    assert model.forwards < walk.forwards / 1.5


def test_one_query_per_step() -> None:
    assert check_counted(BayesOpt(steps=6, initial=3), "l2").forwards == 5 * (1 + 3 + 6)
    assert check_counted(BayesOpt(steps=4), "linf", shape=(2, 3, 3)).forwards == 5 * (1 + 5 + 4)
    check_done_rows_are_free(BayesOpt(), "l2")


def test_digits_fall_that_noise_of_the_same_size_leaves(digit_target, digits) -> None:
    got = check_beats_noise(BayesOpt(steps=45), digit_target, digits[1], "l2", 1.2)
    assert got.forwards <= 16 * 51
