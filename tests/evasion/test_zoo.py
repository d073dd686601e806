"""ZOO: a step by hand, its search, its queries, and linear models."""

from dataclasses import replace

import pytest
import torch

from holdfast.core.errors import NotApplicable
from holdfast.core.goal import AwayFrom, Pixels
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.zoo import ZOO
from holdfast.evasion.scored import Problem
from tests.black_box import check_beats_noise, check_counted, check_done_rows_are_free
from tests.oracles import check_masked, check_minimum, check_targeted, problem, two_class
from tests.toys import LinearTarget

FREE = torch.inf


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("tanh", [False, True])
def test_the_distance_is_within_a_hundredth_of_the_closed_form(tanh: bool) -> None:
    target, x = two_class((8,), n=4)
    check_minimum(ZOO(steps=100, rate=0.005, searches=6, tanh=tanh), "l2", target, x)


def test_several_classes_and_fewer_coordinates_than_features_cost_accuracy_only() -> None:
    target, x = problem((8,), classes=3, n=4)
    check_minimum(ZOO(steps=80, coordinates=4, searches=6), "l2", target, x, slack=0.05)


def test_towards_a_class_and_under_a_mask() -> None:
    few = ZOO(steps=50, searches=6)
    check_targeted(few, "l2", shape=(6,), slack=0.1)
    check_masked(few, "l2", shape=(6,), slack=0.1)
    check_masked(replace(few, tanh=True), "l2", shape=(6,), slack=0.2)


def test_the_first_step_moves_each_coordinate_by_the_rate_against_its_slope() -> None:
    """By hand: Adam's first step is the sign of the gradient, here that of c times the margin."""
    target, x = two_class((8,), n=4)
    goal = AwayFrom(target.answer(x))
    method = ZOO(steps=1, searches=1, rate=1e-3)
    got = [c.x for c in method.run(target, x, goal, Budget("l2", FREE), generator())][-1]
    uphill = target.gradient(x, goal.margin).wrt_input
    assert torch.allclose(got - x, 1e-3 * uphill.sign(), atol=1e-6)


def test_the_objective_is_the_one_of_carlini_and_wagner() -> None:
    target, x = two_class((8,), n=2)
    goal = AwayFrom(target.answer(x))
    at, const = Problem(target, x, goal, Budget("l2", FREE)), torch.tensor([0.5, 2.0])
    points = x.unsqueeze(1) + torch.tensor([0.0, 0.1]).view(1, 2, 1)
    got = ZOO(confidence=0.3)._loss(at, const)(points)
    for i in range(2):
        for j in range(2):
            raw = target.scores(points[i, j : j + 1])[0]
            gap = raw[goal.labels[i]] - raw[1 - goal.labels[i]]
            want = 8 * (0.1 * j) ** 2 + float(const[i]) * max(float(gap), -0.3)
            assert float(got[i, j]) == pytest.approx(want, rel=1e-4)


def test_the_constant_grows_until_something_is_found() -> None:
    """With a constant far too small one search finds nothing, and the next ones raise it."""
    target, x = two_class((8,), n=4)
    weak = LinearTarget(target.weight / 100, target.bias / 100)
    goal = AwayFrom(weak.answer(x))
    found = [
        attack(ZOO(steps=80, searches=k), weak, x, goal, Budget("l2", FREE), Run()).success
        for k in (1, 5)
    ]
    assert not found[0].any()
    assert found[1].all()


def test_queries_are_two_per_coordinate_and_one_to_ask() -> None:
    got = check_counted(ZOO(steps=3, searches=2), "l2")
    assert got.forwards == 5 * (1 + 2 * 3 * (2 * 8 + 1))
    got = check_counted(ZOO(steps=3, searches=1, coordinates=2, tanh=True), "l2")
    assert got.forwards == 5 * (1 + 3 * (2 * 2 + 1))
    check_done_rows_are_free(ZOO(), "l2")


def test_a_search_ends_where_nothing_improves_any_more() -> None:
    target, x = two_class((8,), n=2)
    goal = AwayFrom(target.answer(x))
    method = ZOO(steps=3000, searches=1, first_const=1e-9, rate=1e-4)
    got = attack(method, target, x, goal, Budget("l2", FREE), Run())
    assert got.forwards < 2 * (1 + 400 * 17)


def test_units_and_bounds() -> None:
    plain, x = two_class((8,), n=4)
    scale = torch.logspace(-2, 2, 8)
    target = LinearTarget(
        plain.weight / scale.unsqueeze(1), plain.bias, Box(torch.zeros(8), scale, scale)
    )
    goal = AwayFrom(plain.answer(x))
    got = attack(ZOO(steps=100), target, x * scale, goal, Budget("l2", FREE), Run())
    assert (got.distance / plain.distance(x, "l2") < 1.02).all()
    endless = LinearTarget(plain.weight, plain.bias, Box(-torch.inf, torch.inf))
    with pytest.raises(NotApplicable, match="bounds"):
        attack(ZOO(tanh=True), endless, x, goal, Budget("l2", FREE), Run())
    with pytest.raises(NotApplicable, match="classifiers"):
        next(
            ZOO().run(plain, x, Pixels(torch.zeros(4, 2, 2)), Budget("l2", FREE), generator())  # type: ignore[arg-type]
        )


def test_digits_fall_that_noise_of_the_same_size_leaves(digit_target, digits) -> None:
    method = ZOO(steps=30, searches=3, first_const=1.0, rate=0.03)
    check_beats_noise(method, digit_target, digits[1], "l2", 1.2, rows=8)
