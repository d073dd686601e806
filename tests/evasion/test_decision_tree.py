"""The decision tree attack against a tree drawn by hand and against all cells of fitted ones."""

from dataclasses import replace

import pytest
import torch
from sklearn.tree import DecisionTreeClassifier

from holdfast.core.errors import NeedsError, NotApplicable
from holdfast.core.goal import AwayFrom, ToClass
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.decision_tree import DecisionTreeAttack
from holdfast.ops.balls import Norm
from holdfast.targets.sklearn import wrap
from tests.evasion.trees import among, by_hand, exact, fitted, on_a_table
from tests.toys import LinearTarget

FREE = Budget("l2", torch.inf)


def test_it_goes_to_the_sibling_leaf_although_another_leaf_is_nearer_in_space() -> None:
    """From (0.48, 0.3): 0.3 up to the sibling leaf, but only 0.02 to the right to the next one."""
    target, x = by_hand(), torch.tensor([[0.48, 0.3]])
    got = attack(DecisionTreeAttack(), target, x, AwayFrom(torch.tensor([0])), FREE, Run())
    assert got.success.all()
    assert got.x[0, 0] == x[0, 0]
    assert 0.6 < float(got.x[0, 1]) < 0.6 + 1e-5
    assert float(exact(target, x, AwayFrom(torch.tensor([0])), "l2")) == pytest.approx(
        0.02, abs=1e-6
    )


def test_it_climbs_on_where_the_sibling_does_not_help() -> None:
    """Class 1 of the left half is out of reach below 0.55: over the root, and up past 0.2."""
    target = by_hand(Box(torch.tensor([0.0, 0.0]), torch.tensor([1.0, 0.55])))
    x = torch.tensor([[0.1, 0.1]])
    got = attack(DecisionTreeAttack(), target, x, AwayFrom(torch.tensor([0])), FREE, Run())
    assert got.success.all()
    torch.testing.assert_close(got.x, torch.tensor([[0.5, 0.2]]), atol=1e-5, rtol=0)
    assert (got.x > torch.tensor([[0.5, 0.2]])).all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
@pytest.mark.parametrize("classes", [2, 3])
def test_every_row_is_misread_and_none_nearer_than_the_exact_minimum(
    norm: Norm, classes: int
) -> None:
    target, x = fitted("tree", classes)
    goal = AwayFrom(target.answer(x))
    got = attack(DecisionTreeAttack(), target, x, goal, Budget(norm, torch.inf), Run())
    assert got.success.all()
    far = exact(target, x, goal, norm)
    assert (got.distance >= far * (1 - 1e-4) - 1e-6).all()
    assert got.forwards == 2 * len(x)


def test_a_targeted_walk_ends_in_the_wanted_class() -> None:
    target, x = fitted("tree", 3)
    goal = ToClass(torch.arange(len(x)) % 3)
    got = attack(DecisionTreeAttack(), target, x, goal, FREE, Run())
    assert got.success.all()
    there = target.answer(x) == goal.labels
    assert torch.equal(got.x[there], x[there])


def test_frozen_features_stay_and_what_needs_them_is_given_up() -> None:
    target, x = fitted("tree", 2)
    masked = replace(
        target, space=replace(target.space, editable=torch.tensor([True, False, True]))
    )
    goal = AwayFrom(target.answer(x))
    got = attack(DecisionTreeAttack(), masked, x, goal, FREE, Run())
    assert torch.equal(got.x[:, 1], x[:, 1])
    assert torch.equal(got.success, exact(masked, x, goal, "l2").isfinite())
    assert got.success.any()


def test_a_finite_budget_no_rows_and_other_models() -> None:
    target, x = fitted("tree", 2)
    goal = AwayFrom(target.answer(x))
    near = attack(DecisionTreeAttack(), target, x, goal, Budget("linf", 0.05), Run())
    assert (near.distance <= 0.05 * 1.0001).all()
    assert 0 < near.success.sum() < len(x)
    empty = torch.arange(0)
    assert len(attack(DecisionTreeAttack(), target, x[:0], goal.take(empty), FREE, Run()).x) == 0
    forest, _ = fitted("forest", 2)
    with pytest.raises(NotApplicable, match="adds up 7"):
        attack(DecisionTreeAttack(), forest, x, goal, FREE, Run())
    plain = LinearTarget.random(3, 2)
    with pytest.raises(NeedsError, match="needs trees"):
        attack(DecisionTreeAttack(), plain, x, goal, FREE, Run())


def test_on_a_table_it_proposes_valid_rows_only() -> None:
    forest, space, x, every = on_a_table(60)
    model = DecisionTreeClassifier(max_depth=6, random_state=0)
    model.fit(every.numpy(), forest.answer(every).numpy())
    target = wrap(model, space)
    goal = AwayFrom(target.answer(x))
    got = attack(DecisionTreeAttack(), target, x, goal, Budget("l1", torch.inf), Run())
    assert not torch.stack(list(space.violations(got.x, x).values())).any()
    far = among(target, space, x, every, "l1")
    assert torch.equal(got.success, far.isfinite())
    assert (got.distance[got.success] >= far[got.success] - 1e-6).all()
