"""HopSkipJump against models whose nearest boundary is known, and to the last query."""

from typing import ClassVar

import pytest
import torch

from holdfast.core.goal import AwayFrom, ToClass
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.hop_skip_jump import HopSkipJump
from tests.toys import LinearTarget

FREE = torch.inf


class Counting(LinearTarget):
    """Counts the rows that it is asked for, in a way of its own."""

    asked: ClassVar[list[int]] = [0]

    def answer(self, x: torch.Tensor) -> torch.Tensor:
        self.asked[0] += len(x)
        return super().answer(x)


def inputs(rows: int, features: int) -> torch.Tensor:
    """Points near the middle of the box, so that it does not cut the way to the boundary."""
    return 0.4 + 0.2 * torch.rand(rows, features, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("norm", "slack"), [("linf", 1.1), ("l2", 1.05)])
def test_comes_within_a_few_percent_of_the_closed_form_distance(norm: str, slack: float) -> None:
    target, x = LinearTarget.random(20, 2), inputs(16, 20)
    goal = AwayFrom(target.answer(x))
    got = attack(HopSkipJump(iterations=15), target, x, goal, Budget(norm, FREE), Run())
    ratio = got.distance / target.distance(x, norm)
    assert got.success.all()
    assert got.forwards / 16 < 4600
    assert (ratio > 0.999).all()
    assert (ratio < slack).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_columns_of_any_range_are_the_same_problem_in_their_own_units(norm: str) -> None:
    plain, x, scale = LinearTarget.random(20, 2), inputs(16, 20), torch.logspace(-3, 4, 20)
    space = Box(torch.zeros(20), scale, scale)
    target = LinearTarget(plain.weight / scale.unsqueeze(1), plain.bias, space)
    goal = AwayFrom(plain.answer(x))
    got = attack(HopSkipJump(iterations=15), target, x * scale, goal, Budget(norm, FREE), Run())
    ratio = got.distance / plain.distance(x, norm)
    assert (ratio > 0.999).all()
    assert (ratio < 1.1).all()


def test_more_iterations_beat_the_start_and_each_other() -> None:
    target, x = LinearTarget.random(20, 2), inputs(16, 20)
    goal = AwayFrom(target.answer(x))
    first, some, many = (
        attack(HopSkipJump(iterations=n), target, x, goal, Budget("l2", FREE), Run()).distance
        for n in (1, 4, 12)
    )
    assert (some < first).float().mean() > 0.9
    assert (many <= some).all()
    assert many.median() < some.median() < 0.8 * first.median()


def test_probes_across_the_ray_bring_it_within_six_percent_in_ten_queries_per_feature() -> None:
    # with probes in all directions it ends 11 % above
    target, x = LinearTarget.random(100, 2), inputs(16, 100)
    goal, run = AwayFrom(target.answer(x)), Run(queries=1000)
    got = attack(HopSkipJump(), target, x, goal, Budget("l2", FREE), run)
    assert (got.distance / target.distance(x, "l2")).median() < 1.06


def test_a_feature_beyond_its_bound_is_not_stirred_by_noise() -> None:
    # class 1 is to the right; the other features start at a bound, and moving them is of no use
    weight = torch.zeros(101, 2)
    weight[0, 1] = 1.0
    target = LinearTarget(weight, torch.tensor([0.6, 0.0]))
    x = torch.zeros(12, 101)
    got = attack(
        HopSkipJump(), target, x, AwayFrom(target.answer(x)), Budget("l2", FREE), Run(queries=1000)
    )
    assert (got.distance / 0.6).median() < 1.1  # 1.34 where every step adds noise to them


def test_the_ledger_agrees_with_a_count_made_in_the_target() -> None:
    plain = LinearTarget.random(12, 3)
    target, x = Counting(plain.weight, plain.bias), inputs(7, 12)
    goal = AwayFrom(plain.answer(x))
    Counting.asked[0] = 0
    got = attack(HopSkipJump(iterations=3), target, x, goal, Budget("l2", FREE), Run())
    assert Counting.asked[0] == got.forwards + len(x)  # the engine judges once more, uncounted
    assert got.backwards == 0


@pytest.mark.parametrize("queries", [0, 1, 7, 150])
def test_an_allowance_is_never_overdrawn(queries: int) -> None:
    target, x = LinearTarget.random(12, 3), inputs(5, 12)
    goal, run = AwayFrom(target.answer(x)), Run(queries=queries)
    got = attack(HopSkipJump(), target, x, goal, Budget("linf", FREE), run)
    assert got.forwards <= 5 * queries
    assert torch.equal(got.success, target.answer(got.x) != goal.labels)


def test_a_row_without_a_start_stays_as_it_was_and_costs_only_the_search_for_one() -> None:
    x = inputs(3, 12)
    target = LinearTarget(torch.zeros(12, 2), torch.tensor([1.0, 0.0]))  # always class 0
    goal = AwayFrom(torch.zeros(3, dtype=torch.long))
    method = HopSkipJump(iterations=5, init_trials=9)
    got = attack(method, target, x, goal, Budget("l2", FREE), Run())
    assert not got.success.any()
    assert torch.equal(got.x, x)
    assert got.forwards == 3 * (1 + 9)


def test_rows_that_are_misread_already_are_left_at_distance_zero() -> None:
    target, x = LinearTarget.two_class(12), inputs(6, 12)
    goal = AwayFrom(target.answer(x) ^ torch.tensor([1, 0, 1, 0, 0, 1]))
    got = attack(HopSkipJump(iterations=3), target, x, goal, Budget("l2", FREE), Run())
    assert (got.distance == 0).tolist() == [True, False, True, False, False, True]
    assert got.success.all()


def test_rows_that_are_done_leave_under_a_bounded_budget() -> None:
    target, x = LinearTarget.two_class(12), inputs(10, 12)
    goal, distance = AwayFrom(target.answer(x)), target.distance(x, "l2")
    easy = torch.where(torch.arange(10) < 9, 10.0, 0.5 * distance)
    method = HopSkipJump(iterations=8)
    got = attack(method, target, x, goal, Budget("l2", easy), Run())
    alone = attack(method, target, x[9:], goal.take(torch.tensor([9])), Budget("l2", FREE), Run())
    assert got.success.tolist() == [True] * 9 + [False]
    assert got.forwards < 3 * alone.forwards


def test_a_class_that_no_noise_meets_is_reached_from_another_input() -> None:
    # class 1 only where all of 40 features are above 0.55: noise never gets there
    class Corner(LinearTarget):
        def answer(self, x: torch.Tensor) -> torch.Tensor:
            return (x.flatten(1).amin(1) > 0.55).long()

    target = Corner(torch.zeros(1, 2), torch.zeros(2))
    x = torch.cat([torch.full((3, 40), 0.5), torch.full((1, 40), 0.9)])
    goal = AwayFrom(target.answer(x))
    got = attack(HopSkipJump(iterations=3), target, x, goal, Budget("linf", FREE), Run())
    assert got.success.all()
    assert torch.allclose(got.distance[:3], torch.full((3,), 0.05), atol=1e-3)


def test_a_targeted_run_reaches_the_wanted_class() -> None:
    target, x = LinearTarget.random(12, 3), inputs(9, 12)
    goal = ToClass((target.answer(x) + 1) % 3)
    got = attack(HopSkipJump(iterations=5), target, x, goal, Budget("l2", FREE), Run())
    assert (target.answer(got.x) == goal.labels).all()


def test_no_rows_are_no_problem() -> None:
    target = LinearTarget.random(12, 2)
    method, goal = HopSkipJump(iterations=2), AwayFrom(torch.zeros(0, dtype=torch.long))
    budget, rng = Budget("linf", FREE), torch.Generator()
    for candidate in method.run(target, torch.zeros(0, 12), goal, budget, rng):
        assert len(candidate.x) == 0
