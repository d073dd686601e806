"""DeepFool against linear models, where its first step is the smallest change there is."""

import pytest
import torch

from holdfast.core.goal import AwayFrom, ToClass
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.engine.evasion import attack
from holdfast.engine.ledger import Ledger, view
from holdfast.evasion.attacks.deepfool import DeepFool
from tests.oracles import check_masked, check_minimum, check_targeted, problem
from tests.toys import LinearTarget

NORMS = pytest.mark.parametrize("norm", ["l2", "linf"])


@NORMS
@pytest.mark.parametrize("classes", [2, 5])
def test_a_linear_model_falls_at_its_distance(norm: str, classes: int) -> None:
    check_minimum(DeepFool(), norm, *problem(classes=classes), slack=0.005)


@NORMS
def test_towards_a_class_costs_what_leaving_the_other_costs(norm: str) -> None:
    check_targeted(DeepFool(), norm, slack=0.005)


@NORMS
def test_frozen_features_do_not_move(norm: str) -> None:
    check_masked(DeepFool(), norm, slack=0.005)


@NORMS
def test_the_first_step_is_the_projection_of_the_paper_with_its_overshoot(norm: str) -> None:
    """Eqs. 8-11 by hand, one row, three classes."""
    weight = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0]])
    target = LinearTarget(weight, torch.zeros(3))
    x = torch.tensor([[0.9, 0.3]])
    scores = x @ weight
    slopes = weight[:, 1:].T - weight[:, 0]
    gaps = (scores[0, 1:] - scores[0, 0]).abs()
    dual = slopes.norm(dim=1) if norm == "l2" else slopes.abs().sum(1)
    nearest = int((gaps / dual).argmin())
    way = slopes[nearest] / dual[nearest] if norm == "l2" else slopes[nearest].sign()
    expected = x + 1.02 * gaps[nearest] / dual[nearest] * way
    method = DeepFool(refine=0)
    goal, budget = AwayFrom(target.answer(x)), Budget(norm, torch.inf)
    got = attack(method, target, x, goal, budget, Run())
    assert torch.allclose(got.x, expected, atol=1e-6)
    assert (got.forwards, got.backwards) == (3, 2)  # a look, one step of two rivals, a look


def test_rows_leave_when_they_fall_and_rows_that_are_wrong_cost_one_look() -> None:
    target, x = problem(classes=3)
    wrong = (target.answer(x) + 1) % 3
    got = attack(DeepFool(), target, x, AwayFrom(wrong), Budget("l2", torch.inf), Run())
    assert got.success.all()
    assert (got.distance == 0).all()
    assert (got.forwards, got.backwards) == (len(x), 0)


def test_clipping_to_the_box_still_reaches_the_boundary() -> None:
    """Half of the features stand at the bound that they are pushed against."""
    target = LinearTarget.two_class(features=12)
    x = torch.cat([torch.zeros(1, 4), torch.full((1, 8), 0.9)], 1)
    got = attack(DeepFool(), target, x, AwayFrom(target.answer(x)), Budget("l2", torch.inf), Run())
    assert got.success.all()
    least = (float(x.mean()) - 0.5) * 12 / 8**0.5  # only eight features can go down
    assert float(got.distance) <= 1.01 * least


def test_distance_is_counted_in_each_columns_own_range() -> None:
    weight = torch.tensor([[-1.0, 1.0], [-0.01, 0.01]])
    wide = Box(torch.tensor([0.0, 0.0]), torch.tensor([1.0, 100.0]), torch.tensor([1.0, 100.0]))
    target = LinearTarget(weight, torch.tensor([1.0, -1.0]), wide)
    x = torch.tensor([[0.6, 60.0]])
    got = attack(DeepFool(), target, x, AwayFrom(target.answer(x)), Budget("l2", torch.inf), Run())
    assert float(got.distance) == pytest.approx(0.1 * 2**0.5, rel=0.01)


def test_a_trained_net_falls_within_the_published_range_of_steps(digit_target, digits) -> None:
    """Sec. 3 of the paper: a few steps suffice; noise of the same size changes nothing."""
    x = digits[1].x[:64]
    own = digit_target.answer(x)
    got = attack(DeepFool(), digit_target, x, AwayFrom(own), Budget("l2", torch.inf), Run())
    assert got.success.all()
    assert got.backwards / 9 / len(x) < 6
    noise = digit_target.space.random(x, Budget("l2", got.distance), Run().generator(0))
    assert (digit_target.answer(noise) == own).float().mean() > 0.9


def test_a_targeted_run_on_five_classes_ends_in_the_wanted_one() -> None:
    target, x = problem(classes=5)
    goal = ToClass((target.answer(x) + 1) % 5)
    got = attack(DeepFool(), target, x, goal, Budget("l2", torch.inf), Run())
    assert (target.answer(got.x) == goal.labels).all()


def test_the_attack_sees_no_more_than_gradients() -> None:
    target, _ = problem()
    assert not hasattr(view(DeepFool(), target, Ledger()), "module")
