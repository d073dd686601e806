"""Prior-guided random gradient-free attack: its measurements, its queries, and linear models."""

import pytest
import torch

from holdfast.core.goal import AwayFrom
from holdfast.core.space import Budget
from holdfast.evasion.attacks.rgf import DRAWS, RGF
from holdfast.evasion.scored import Problem, odds
from holdfast.ops import balls
from tests.black_box import check_beats_noise, check_counted, check_done_rows_are_free
from tests.oracles import check_fixed, check_masked, check_targeted, two_class


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear(n: int = 300) -> tuple[Problem, torch.Tensor, torch.Tensor]:
    """One input many times, so that means over rows are means over draws; value and gradient."""
    target, x = two_class((16,), n=1)
    x = x.expand(n, -1)
    at = Problem(target, x, AwayFrom(target.answer(x)), Budget("l2", 1.0))
    gradient = target.gradient(x, lambda raw: odds(at.goal, raw)).wrt_input
    return at, odds(at.goal, target.scores(x)), gradient


def test_the_norm_of_the_gradient_is_measured_without_bias() -> None:
    at, value, gradient = linear(3000)
    got = RGF()._size(at, at.x, value, generator())
    truth = gradient[0].square().sum()
    assert float(got.square().mean()) == pytest.approx(float(truth), rel=0.05)


def test_a_good_prior_gives_a_better_direction_than_none_and_a_wrong_one_is_turned() -> None:
    at, value, gradient = linear()
    size = gradient.flatten(1).norm(dim=1)
    tilt = torch.randn(gradient.shape, generator=generator(3))
    good = balls.steepest(gradient, "l2") + 0.35 * tilt / 4 * 4**0.5
    method = RGF(samples=4)

    def quality(prior: torch.Tensor) -> torch.Tensor:
        got = method._estimate(at, at.x, value, prior, size, generator(1))
        return torch.cosine_similarity(got, gradient)

    plain = RGF(samples=4, prior=False)
    without = torch.cosine_similarity(
        plain._estimate(at, at.x, value, good, size, generator(1)), gradient
    )
    assert float(quality(good).mean()) > float(without.mean()) + 0.1
    assert torch.allclose(quality(good), quality(-good), atol=1e-3)
    assert float(without.mean()) == pytest.approx(
        (4 / 19) ** 0.5, abs=0.05
    )  # sqrt(q / (D + q - 1))


def test_a_perfect_prior_costs_one_query_and_is_used_as_it_is() -> None:
    at, value, gradient = linear(5)
    asked = []
    target = at.target

    class Watch:
        space = target.space

        def scores(self, x: torch.Tensor) -> torch.Tensor:
            asked.append(len(x))
            return target.scores(x)

        def decode(self, raw: torch.Tensor) -> torch.Tensor:
            return target.decode(raw)

        def answer(self, x: torch.Tensor) -> torch.Tensor:
            return target.answer(x)

    watched = Problem(Watch(), at.x, at.goal, at.budget)
    got = RGF()._estimate(watched, at.x, value, gradient, gradient.norm(dim=1), generator())
    assert torch.allclose(got, balls.steepest(gradient, "l2"))
    assert asked == [5]


@pytest.mark.parametrize("prior", [True, False])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_linear_model_falls_as_soon_as_its_boundary_is_inside_the_ball(
    norm: str, prior: bool
) -> None:
    """In Linf the signs of nearly flat features come from noise: a tenth is allowed for them."""
    target, x = two_class((12,))
    slack = 0.1 if norm == "linf" else 0.1 if prior else 0.05
    check_fixed(RGF(steps=60, prior=prior), norm, target, x, slack=slack)


def test_towards_a_class_and_under_a_mask() -> None:
    check_targeted(RGF(steps=60), "linf", slack=0.1, shape=(12,))
    check_masked(RGF(steps=60), "linf", slack=0.1, shape=(12,))
    check_masked(RGF(steps=60), "l2", slack=0.1, shape=(12,))


def test_queries_are_those_of_the_algorithm() -> None:
    got = check_counted(RGF(steps=2, prior=False), "linf")
    assert got.forwards == 5 * (1 + 2 * (50 + 1))
    got = check_counted(
        RGF(steps=2), "linf"
    )  # on a linear model the first estimate is a good prior
    least = 5 * (1 + (50 + 1) + (DRAWS + 1 + 1))
    assert least <= got.forwards <= least + 5 * 50
    check_done_rows_are_free(RGF(), "linf")


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.15), ("l2", 1.2)])
def test_digits_fall_that_noise_of_the_same_size_leaves(
    digit_target, digits, norm: str, eps: float
) -> None:
    check_beats_noise(RGF(steps=60), digit_target, digits[1], norm, eps)
