"""ALMA against linear models, whose smallest adversarial change is known exactly."""

from dataclasses import replace

import pytest
import torch

from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.alma import ALMA, _first_rate, _slope
from holdfast.ops import balls
from tests.oracles import check_masked, check_minimum, check_targeted, problem, two_class

NORMS = pytest.mark.parametrize("norm", ["l2", "l1"])


@NORMS
def test_alma_finds_the_smallest_change_in_a_fifth_of_its_steps(norm: str) -> None:
    check_minimum(ALMA(steps=200), norm, *two_class((2, 3, 4), n=8))


def test_alma_finds_the_smallest_change_among_three_classes_with_its_defaults() -> None:
    check_minimum(ALMA(), "l2", *problem(n=4))


def test_its_own_search_comes_close_without_the_last_steps() -> None:
    check_minimum(ALMA(steps=400, final_steps=0), "l2", *two_class(n=8), slack=0.02)


@NORMS
def test_alma_reaches_a_wanted_class_and_spares_frozen_features(norm: str) -> None:
    check_targeted(ALMA(steps=100), norm, slack=0.01)
    check_masked(ALMA(steps=100), norm, slack=0.01)


def test_the_slope_of_the_penalty_is_its_finite_difference() -> None:
    y = torch.tensor([-2.0, -0.3, 0.4, 1.7], dtype=torch.float64)
    rho = torch.tensor([1.0, 2.0, 3.0, 1.5], dtype=torch.float64)
    mu = torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=torch.float64)

    def penalty(y: torch.Tensor) -> torch.Tensor:
        above = mu * y + mu * rho * y**2 + rho**2 * y**3 / 6
        return torch.where(y >= 0, above, mu * y / (1 - rho * y.clamp(max=0)))

    difference = (penalty(y + 1e-6) - penalty(y - 1e-6)) / 2e-6
    assert torch.allclose(_slope(y, rho, mu), difference, rtol=1e-6)


@NORMS
def test_the_first_rate_gives_a_step_of_the_wanted_size_also_at_the_bounds(norm: str) -> None:
    grad = torch.randn(5, 12, generator=torch.Generator().manual_seed(0))
    low, high = torch.full_like(grad, -0.05), torch.full_like(grad, 0.9)
    rate = _first_rate(grad, low, high, norm, 0.3)
    step = torch.minimum(torch.maximum(-rate.view(-1, 1) * grad, low), high)
    assert torch.allclose(balls.size(step, norm), torch.tensor(0.3), rtol=1e-3)
    free = _first_rate(grad, -100 - 0 * grad, 100 + 0 * grad, norm, 0.3)
    assert torch.allclose(free * balls.size(grad, norm), torch.tensor(0.3), rtol=1e-3)
    assert (rate >= 0.999 * free).all()
    assert (rate > 1.05 * free).any()


def test_the_path_does_not_change_when_scores_are_scaled() -> None:
    """That is what the difference of logits ratio is for."""
    target, x = problem(n=8)
    louder = replace(target, weight=64 * target.weight, bias=64 * target.bias)
    goal, budget = AwayFrom(target.answer(x)), Budget("l2", torch.inf)
    one, two = (
        attack(ALMA(steps=20, final_steps=0), each, x, goal, budget, Run())
        for each in (target, louder)
    )
    assert one.success.any()
    assert torch.allclose(one.x, two.x, atol=1e-4)
