"""PDPGD against linear models, whose smallest adversarial change is known exactly."""

import math

import pytest
import torch

from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.pdpgd import PDPGD
from tests.oracles import check_masked, check_minimum, check_targeted, two_class
from tests.toys import LinearTarget

NORMS = pytest.mark.parametrize("norm", ["linf", "l2", "l1"])


@NORMS
def test_pdpgd_finds_the_smallest_change_in_a_fifth_of_its_steps(norm: str) -> None:
    check_minimum(PDPGD(steps=100), norm, *two_class(n=8))


def test_pdpgd_finds_the_smallest_change_with_its_defaults() -> None:
    check_minimum(PDPGD(), "l1", *two_class((1, 4, 4), n=4))


def test_its_own_search_comes_close_without_the_last_steps() -> None:
    check_minimum(PDPGD(steps=200, final_steps=0), "linf", *two_class(n=8), slack=0.02)
    check_minimum(PDPGD(steps=200, final_steps=0), "l1", *two_class(n=8), slack=0.05)


def test_pdpgd_changes_the_fewest_features() -> None:
    check_minimum(PDPGD(steps=100), "l0", *two_class((64,), n=8, spread=0.9))


@NORMS
def test_pdpgd_reaches_a_wanted_class_and_spares_frozen_features(norm: str) -> None:
    check_targeted(PDPGD(steps=60), norm, slack=0.01)
    check_masked(PDPGD(steps=60), norm, slack=0.01)


def test_the_same_with_few_features() -> None:
    check_targeted(PDPGD(steps=60), "l0", slack=0.01, shape=(64,))
    check_masked(PDPGD(steps=60), "l0", slack=0.01, shape=(64,))


@pytest.mark.parametrize(("norm", "shrink"), [("l1", 1.0), ("l2", 1.0), ("linf", 1.0)])
def test_one_step_is_adam_then_the_proximal_operator(norm: str, shrink: float) -> None:
    """On one feature Adam's first step is the rate; the operator takes ratio * rate / metric."""
    target = LinearTarget(torch.tensor([[1.0, -1.0]]), torch.tensor([-0.5, 0.5]))
    x = torch.tensor([[0.9]])
    search = PDPGD(first_ratio=0.1).run(
        target, x, AwayFrom(target.answer(x)), Budget(norm, torch.inf),
        torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert torch.equal(next(search).x, x)
    grad = 2 / (1 + math.exp(-0.8))  # of softplus(2 x - 1) at x = 0.9
    assert next(search).x.item() == pytest.approx(0.9 - (0.1 - shrink * 0.1 * 0.1 / grad), abs=1e-6)


def test_inner_steps_reach_the_minimum_in_adams_metric() -> None:
    """With a diagonal metric h and the L1 norm it is a soft threshold at weight / h."""
    delta = torch.tensor([[0.3, -0.2, 0.05]])
    metric = torch.tensor([[1.0, 0.5, 0.8]])
    room = (-torch.ones_like(delta), torch.ones_like(delta))
    z = PDPGD(inner=60)._near(delta, metric, torch.tensor([0.05]), room, "l1")
    assert torch.allclose(z, torch.tensor([[0.25, -0.1, 0.0]]), atol=1e-5)


def test_unchanged_features_are_exactly_the_clean_ones() -> None:
    target, x = two_class((64,), n=8, spread=0.9)
    goal, budget = AwayFrom(target.answer(x)), Budget("l0", torch.inf)
    got = attack(PDPGD(steps=50), target, x, goal, budget, Run())
    assert torch.equal((got.x != x).sum(1).float(), got.distance)
    assert (got.distance < 20).all()
