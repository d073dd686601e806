"""PGD against linear models, whose smallest adversarial change is known exactly."""

import pytest
import torch

from holdfast.core.goal import AwayFrom, ToClass
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.pgd import PGD
from tests.oracles import check_fixed, check_masked, check_targeted, two_class
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


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
def test_pgd_reaches_what_can_be_reached_in_every_norm(norm: str) -> None:
    method = PGD(random_start=norm not in ("l1", "l0"))
    shape, spread = ((64,), 0.9) if norm == "l0" else ((24,), 0.4)
    check_fixed(method, norm, *two_class(shape, spread=spread))
    check_targeted(method, norm, shape=shape)
    check_masked(method, norm, shape=shape)


def test_in_l0_a_random_start_is_left_behind() -> None:
    check_fixed(PGD(), "l0", *two_class((64,), spread=0.9))


def test_in_l0_features_are_chosen_by_slope_times_room() -> None:
    weight = torch.tensor([[-4.0, 4.0], [-3.0, 3.0], [-2.0, 2.0]])
    target = LinearTarget(weight, torch.tensor([9.0, -9.0]))
    x, goal = torch.tensor([[0.9, 0.6, 0.3]]), AwayFrom(torch.tensor([0]))  # gains 0.4, 1.2, 1.4
    method = PGD(steps=2, random_start=False)
    for eps, best in [(1, [0.9, 0.6, 1.0]), (2.7, [0.9, 1.0, 1.0]), (3, [1.0, 1.0, 1.0])]:
        end = [c.x for c in method.run(target, x, goal, Budget("l0", eps), torch.Generator())][-1]
        assert torch.allclose(end, torch.tensor([best]), atol=1e-6)
