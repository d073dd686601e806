"""PGD against linear models, whose smallest adversarial change is known exactly."""

import pytest
import torch

from holdfast.core.goal import AwayFrom, ToClass
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.pgd import PGD
from tests.toys import LinearTarget


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize(("factor", "reached"), [(1.05, True), (0.95, False)])
def test_pgd_succeeds_exactly_when_the_boundary_is_inside_the_ball(
    norm: str, factor: float, reached: bool
) -> None:
    target = LinearTarget.two_class(features=12)
    x = torch.full((4, 12), 0.6)
    radius = target.distance(x, norm)
    budget = Budget(norm, factor * radius)
    # a sparse ball is left slowly from a dense start, so the L1 case starts at the input itself
    method = PGD(steps=40, random_start=norm != "l1")
    got = attack(method, target, x, AwayFrom(target.answer(x)), budget, Run())
    assert (got.success == reached).all()


def test_every_row_has_its_own_budget() -> None:
    target = LinearTarget.two_class(features=12)
    x = torch.full((4, 12), 0.7)
    eps = target.distance(x, "linf") * torch.tensor([0.9, 1.1, 0.9, 1.1])
    got = attack(PGD(steps=10), target, x, AwayFrom(target.answer(x)), Budget("linf", eps), Run())
    assert got.success.tolist() == [False, True, False, True]


def test_a_targeted_run_reaches_the_wanted_class() -> None:
    target = LinearTarget.random(20, 5)
    x = torch.full((5, 20), 0.5)
    goal = ToClass(torch.arange(5))
    got = attack(PGD(steps=20), target, x, goal, Budget("linf", 0.5), Run())
    assert (target.answer(got.x) == goal.labels).all()


def test_rows_that_are_done_cost_nothing_more() -> None:
    target = LinearTarget.two_class(features=12)
    x = torch.cat([torch.full((10, 12), 0.51), torch.full((1, 12), 0.9)])
    got = attack(PGD(steps=30), target, x, AwayFrom(target.answer(x)), Budget("linf", 0.1), Run())
    assert got.success.sum() == 10
    assert got.backwards < 11 * 30 / 3


def test_a_budget_is_counted_in_each_columns_own_range() -> None:
    """One unit of the second column is worth a hundred; the wide column moves the score alone."""
    weight = torch.tensor([[0.0, 0.0], [-0.01, 0.01]])
    wide = Box(torch.tensor([0.0, 0.0]), torch.tensor([1.0, 100.0]), torch.tensor([1.0, 100.0]))
    target = LinearTarget(weight, torch.tensor([0.5, -0.5]), wide)
    x = torch.tensor([[0.5, 60.0]])  # ten raw units, a tenth of the range, from the boundary
    for eps, reached in [(0.11, True), (0.09, False)]:
        got = attack(
            PGD(steps=10), target, x, AwayFrom(target.answer(x)), Budget("linf", eps), Run()
        )
        assert bool(got.success) == reached
        assert float(got.distance) <= eps * 1.0001
