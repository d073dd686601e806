"""The fast verdict against the exact one, its accounting, and what it does when gradients lie."""

import pytest
import torch

from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.fast_verdict import FastVerdict
from tests import oracles
from tests.evasion.test_auto_attack import Flat

QUICK = FastVerdict(queries=50, targets=2, batch=128)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_on_linear_models_the_verdict_is_exact(norm) -> None:
    target, x = oracles.problem((24,), 5, n=100)
    far = target.distance(x, norm)
    eps = far.quantile(0.4)
    clear = (far / eps - 1).abs() > 0.05
    got = attack(QUICK, target, x, AwayFrom(target.answer(x)), Budget(norm, eps), Run())
    assert torch.equal(got.success[clear], (far < eps)[clear])
    assert "auto_attack" not in got.spent


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_towards_a_class_and_around_frozen_features(norm) -> None:
    oracles.check_targeted(QUICK, norm)
    oracles.check_masked(QUICK, norm)


def test_dear_parts_see_only_the_nearest_rows() -> None:
    target, x = oracles.problem((24,), 5, n=150)
    far = target.distance(x, "linf")
    eps = far.quantile(0.3)
    got = attack(QUICK, target, x, AwayFrom(target.answer(x)), Budget("linf", eps), Run())
    assert got.spent["margin"].rows == 150
    assert got.spent["nearer"].rows <= 38  # a quarter of all
    assert got.spent["deep apgd-t"].rows <= 10
    assert got.spent["deep square"].rows <= 10
    assert got.spent["audit"].rows == 10
    assert (got.forwards + got.backwards) / 150 < 400


def test_where_the_gradient_is_useless_everything_goes_through_auto_attack() -> None:
    target, x = oracles.two_class(n=60)
    goal, far = AwayFrom(target.answer(x)), target.distance(x, "linf")
    method = FastVerdict(queries=500, targets=2, deep=0.01)
    got = attack(method, Flat(target), x, goal, Budget("linf", far * 2), Run())
    assert "auto_attack" in got.spent
    assert got.success.float().mean() > 0.6


def test_rivals_are_ranked_by_what_the_budget_can_reach() -> None:
    """A class that is behind but steep comes before one that is close but flat."""
    from holdfast.evasion.field import Field
    from tests.toys import LinearTarget

    weight = torch.zeros(4, 3)
    weight[:, 2] = 1.0
    target = LinearTarget(weight, torch.tensor([1.0, 0.9, -2.0]))
    x = torch.full((1, 4), 0.5)  # scores 1, 0.9 and 0
    field = Field(target, x, AwayFrom(target.answer(x)), Budget("linf", 0.4), torch.Generator(), 8)
    field.rank(2)
    assert field.rivals.tolist() == [[2, 1]]
    small = Field(target, x, AwayFrom(target.answer(x)), Budget("linf", 0.01), torch.Generator(), 8)
    small.rank(2)
    assert small.rivals.tolist() == [[1, 2]]


def test_no_rows_and_few_rows() -> None:
    target, x = oracles.two_class(n=3)
    for rows in (x[:0], x[:1], x):
        goal = AwayFrom(target.answer(rows))
        got = attack(QUICK, target, rows, goal, Budget("linf", 1e-5), Run())
        assert len(got.success) == len(rows)
        assert not got.success.any()
