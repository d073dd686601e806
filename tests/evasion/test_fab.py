"""FAB against linear models, whose smallest adversarial change is known exactly."""

import pytest
import torch

from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.fab import FAB
from tests.oracles import check_masked, check_minimum, check_targeted, problem, two_class
from tests.toys import LinearTarget

NORMS = pytest.mark.parametrize("norm", ["linf", "l2", "l1"])


@NORMS
@pytest.mark.parametrize("targets", [0, 9])
def test_fab_finds_the_smallest_change(norm: str, targets: int) -> None:
    target, x = problem()
    check_minimum(FAB(steps=30, targets=targets), norm, target, x)
    target, x = two_class((2, 3, 4))
    check_minimum(FAB(steps=30, targets=targets), norm, target, x)


@NORMS
def test_fab_finds_the_smallest_change_with_its_defaults(norm: str) -> None:
    check_minimum(FAB(), norm, *problem(n=8))


@NORMS
def test_fab_reaches_a_wanted_class_and_spares_frozen_features(norm: str) -> None:
    check_targeted(FAB(steps=30), norm, slack=0.01)
    check_masked(FAB(steps=30), norm, slack=0.01)


def first_points(method: FAB, target: LinearTarget, x: torch.Tensor, norm: str, steps: int):
    """The inputs it proposes, without an engine."""
    rng = torch.Generator().manual_seed(0)
    goal = AwayFrom(target.answer(x))
    search = method.run(target, x, goal, Budget(norm, torch.inf), rng)
    return [next(search).x for _ in range(steps)]


def test_the_first_step_overshoots_the_boundary_by_eta_and_hits_are_drawn_back_by_beta() -> None:
    """On one feature: the boundary at distance 0.2 is passed at 0.21, then drawn back to 0.189."""
    target = LinearTarget(torch.tensor([[1.0, -1.0]]), torch.tensor([-0.5, 0.5]))
    clean, first, second = first_points(FAB(), target, torch.tensor([[0.7]]), "l2", 3)
    assert clean.item() == pytest.approx(0.7)
    assert first.item() == pytest.approx(0.7 - 1.05 * 0.2)
    drawn, alpha = 0.9 * 0.21, (0.2 - 0.9 * 0.21) / (0.2 - 0.9 * 0.21 + 0.2)
    assert alpha < 0.1
    expected = (1 - alpha) * (drawn + 1.05 * (0.2 - drawn)) + alpha * 1.05 * 0.2
    assert second.item() == pytest.approx(0.7 - expected)


def test_bounds_are_part_of_the_projection() -> None:
    """The steep feature can move by 0.05 only; the other one makes up for it at once."""
    weight = torch.tensor([[2.0, -2.0], [1.0, -1.0]])
    target = LinearTarget(weight, torch.tensor([-0.65, 0.65]))
    x = torch.tensor([[0.05, 0.8]])  # 2 * 0.05 + 0.8 = 0.9 has to fall to 0.65
    got = attack(FAB(), target, x, AwayFrom(target.answer(x)), Budget("linf", torch.inf), Run())
    assert got.distance.item() == pytest.approx(0.15, rel=5e-3)


def test_targets_are_tried_in_the_order_of_their_scores_and_stop_within_the_budget() -> None:
    target, x = problem(classes=4)
    far = target.distance(x, "l2")
    goal = AwayFrom(target.answer(x))
    got = attack(FAB(targets=9), target, x, goal, Budget("l2", 1.02 * far), Run())
    assert got.success.all()
    assert got.forwards < 100 * len(x)  # far fewer than three runs of 100 steps
    stuck = attack(FAB(targets=9), target, x, goal, Budget("l2", 0.98 * far), Run())
    assert not stuck.success.any()


def test_one_forward_a_step_until_a_row_hits() -> None:
    flat = LinearTarget(torch.zeros(5, 3), torch.tensor([1.0, 0.0, 0.0]))
    x = torch.rand(4, 5, generator=torch.Generator().manual_seed(0))
    got = attack(
        FAB(steps=10, final_steps=0), flat, x, AwayFrom(flat.answer(x)), Budget("l2", 1.0), Run()
    )
    assert not got.success.any()
    assert got.forwards == 4 * 10
    assert got.backwards == 4 * 10 * 2


def test_random_restarts_stay_within_half_of_what_is_known() -> None:
    target, x = problem(n=8)
    far = target.distance(x, "linf")
    points = first_points(FAB(steps=30, restarts=2), target, x, "linf", 31)
    moved = target.space.distance(points[30], x, "linf")
    assert (moved > 0).all()
    assert (moved <= 0.51 * far).all()
    check_minimum(FAB(steps=30, restarts=2), "linf", target, x)


def test_columns_are_measured_in_their_own_range() -> None:
    weight = torch.tensor([[0.0, 0.0], [-0.01, 0.01]])
    wide = Box(torch.tensor([0.0, 0.0]), torch.tensor([1.0, 100.0]), torch.tensor([1.0, 100.0]))
    target = LinearTarget(weight, torch.tensor([0.5, -0.5]), wide)
    x = torch.tensor([[0.5, 60.0]])  # ten raw units, a tenth of the range, from the boundary
    for norm in ("linf", "l2", "l1"):
        got = attack(FAB(), target, x, AwayFrom(target.answer(x)), Budget(norm, torch.inf), Run())
        assert got.distance.item() == pytest.approx(0.1, rel=5e-3)
