"""The MILP attack is exact: it equals the minimum over all cells of small ensembles."""

from dataclasses import replace

import pytest
import torch

from holdfast.core.goal import AwayFrom, ToClass
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.leaf_tuple import LeafTuple
from holdfast.evasion.attacks.milp_tree import MilpTree
from holdfast.ops.balls import Norm
from tests.evasion.trees import among, by_hand, exact, fitted, on_a_table

pytest.importorskip("highspy")


@pytest.mark.parametrize("norm", ["linf", "l1", "l0"])
@pytest.mark.parametrize(
    ("kind", "classes"), [("tree", 2), ("forest", 2), ("forest", 3), ("boosting", 2), ("boosting", 3)]
)  # fmt: skip
def test_it_finds_the_exact_minimum_over_all_cells(kind: str, classes: int, norm: Norm) -> None:
    target, x = fitted(kind, classes)
    x = x[:15]
    goal = AwayFrom(target.answer(x))
    got = attack(MilpTree(), target, x, goal, Budget(norm, torch.inf), Run())
    far = exact(target, x, goal, norm)
    assert torch.equal(got.success, far.isfinite())
    torch.testing.assert_close(got.distance, far, rtol=2e-5, atol=2e-6)
    assert set(got.stage) == {"minimal"}
    assert got.forwards == 2 * len(x)


@pytest.mark.parametrize("norm", ["linf", "l1", "l0"])
def test_towards_a_wanted_class_it_is_exact_too(norm: Norm) -> None:
    target, x = fitted("forest", 3)
    x = x[:15]
    goal = ToClass((target.answer(x) + 1) % 3)
    got = attack(MilpTree(), target, x, goal, Budget(norm, torch.inf), Run())
    far = exact(target, x, goal, norm)
    assert torch.equal(got.success, far.isfinite())
    torch.testing.assert_close(got.distance, far, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("norm", ["linf", "l1", "l0"])
def test_with_a_frozen_feature_it_is_exact_over_the_others(norm: Norm) -> None:
    target, x = fitted("boosting", 2)
    x = x[:15]
    masked = replace(
        target, space=replace(target.space, editable=torch.tensor([True, False, True]))
    )
    goal = AwayFrom(target.answer(x))
    got = attack(MilpTree(), masked, x, goal, Budget(norm, torch.inf), Run())
    far = exact(masked, x, goal, norm)
    assert torch.equal(got.x[:, 1], x[:, 1])
    assert torch.equal(got.success, far.isfinite())
    ended = far.isfinite()
    torch.testing.assert_close(got.distance[ended], far[ended], rtol=2e-5, atol=2e-6)


def test_within_a_budget_exactly_the_rows_whose_minimum_fits_fall() -> None:
    target, x = fitted("forest", 2)
    x = x[:15]
    goal = AwayFrom(target.answer(x))
    far = exact(target, x, goal, "linf")
    room = far * torch.where(torch.arange(15) % 2 == 0, 0.99, 1.01)
    got = attack(MilpTree(), target, x, goal, Budget("linf", room), Run())
    assert got.success.tolist() == (torch.arange(15) % 2 == 1).tolist()
    eps = float(far.median()) + 1e-5
    fixed = attack(MilpTree(), target, x, goal, Budget("linf", eps), Run())
    assert torch.equal(fixed.success, far <= eps)


def test_no_greedy_descent_is_nearer() -> None:
    target, x = fitted("boosting", 3, features=6)
    x = x[:20]
    goal, budget = AwayFrom(target.answer(x)), Budget("l1", torch.inf)
    exactly, greedily = (
        attack(method, target, x, goal, budget, Run()) for method in (MilpTree(), LeafTuple())
    )
    assert (exactly.distance <= greedily.distance + 1e-6).all()
    assert (exactly.distance < greedily.distance - 1e-4).any()


def test_a_row_without_time_keeps_the_greedy_point_and_is_not_called_minimal() -> None:
    target, x = fitted("large", 3, features=6)
    x = x[:5]
    goal, budget = AwayFrom(target.answer(x)), Budget("l1", torch.inf)
    got = attack(MilpTree(seconds=0.0), target, x, goal, budget, Run())
    assert got.success.all()
    assert set(got.stage) == {"time limit"}
    greedy = attack(LeafTuple(), target, x, goal, budget, Run())
    torch.testing.assert_close(got.distance, greedy.distance)


def test_the_tree_drawn_by_hand_no_rows_and_repetition() -> None:
    target, x = by_hand(), torch.tensor([[0.48, 0.3], [0.9, 0.9]])
    goal = AwayFrom(target.answer(x))
    first, again = (attack(MilpTree(), target, x, goal, Budget("linf", 9.0), Run()) for _ in "ab")
    torch.testing.assert_close(first.distance, torch.tensor([0.02, 0.4]), atol=1e-5, rtol=0)
    assert torch.equal(first.x, again.x)
    none = attack(MilpTree(), target, x[:0], goal.take(torch.arange(0)), Budget("l0", 1.0), Run())
    assert len(none.x) == 0


@pytest.mark.parametrize("norm", ["linf", "l1", "l0"])
def test_on_a_table_it_is_exact_among_valid_rows(norm: Norm) -> None:
    target, space, x, every = on_a_table(25)
    goal, far = AwayFrom(target.answer(x)), among(target, space, x, every, norm)
    got = attack(MilpTree(starts=1), target, x, goal, Budget(norm, torch.inf), Run())
    assert not torch.stack(list(space.violations(got.x, x).values())).any()
    assert torch.equal(got.success, far.isfinite())
    torch.testing.assert_close(got.distance, far)
    assert set(got.stage) == {"minimal"}
