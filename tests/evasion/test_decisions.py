"""What all decision-based attacks do: closed forms of linear models, masks, goals, starts, queries."""

from dataclasses import replace
from typing import ClassVar

import pytest
import torch

from holdfast.core.errors import NotApplicable
from holdfast.core.goal import AwayFrom, ToClass
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.boundary import Boundary
from holdfast.evasion.attacks.geoda import GeoDA
from holdfast.evasion.attacks.hop_skip_jump import HopSkipJump
from holdfast.evasion.attacks.opt_attack import OPTAttack
from holdfast.evasion.attacks.qeba import QEBA
from holdfast.evasion.attacks.sign_opt import SignOPT
from holdfast.evasion.attacks.surfree import SurFree
from holdfast.evasion.decisions import nearest_other
from tests.oracles import check_masked, check_minimum, check_targeted, two_class
from tests.toys import LinearTarget

FREE = torch.inf
WALK = Boundary(400, turn=0.5, pull=0.3, check_every=1, turns_kept=6, pulls_kept=6)
EACH = {
    "hop_skip_jump": (HopSkipJump(iterations=12), "l2", 0.05),
    "hop_skip_jump linf": (HopSkipJump(iterations=12), "linf", 0.06),
    "qeba": (QEBA(iterations=12), "l2", 0.05),
    "geoda": (GeoDA(iterations=9), "l2", 0.01),
    "geoda linf": (GeoDA(iterations=9), "linf", 0.02),
    "geoda l1": (GeoDA(iterations=9), "l1", 0.01),
    "surfree": (SurFree(steps=80), "l2", 0.01),
    "sign_opt": (SignOPT(iterations=10, directions=50), "l2", 0.01),
    "opt_attack": (OPTAttack(iterations=6), "l2", 0.01),
    "boundary": (WALK, "l2", 0.01),
}
"""Method, measure and how far above the closed form it may end with the queries it is given: at
most 4,500. Steps of a fixed length (HopSkipJump, QEBA) need more slack."""
ALL = pytest.mark.parametrize("name", EACH)
ONCE = pytest.mark.parametrize("name", [name for name in EACH if " " not in name])


def short(name):
    """The method with few steps."""
    method = EACH[name][0]
    steps = "steps" if "steps" in method.params else "iterations"
    return replace(method, **{steps: 4})


@ALL
def test_finds_the_nearest_point_of_a_flat_boundary(name) -> None:
    method, norm, slack = EACH[name]
    target, x = two_class((6,), n=12)
    got = check_minimum(method, norm, target, x, slack=slack)
    assert got.forwards / len(x) < 4500
    assert got.backwards == 0


@ALL
def test_reaches_a_wanted_class_as_cheaply(name) -> None:
    method, norm, slack = EACH[name]
    check_targeted(method, norm, slack=2 * slack, shape=(6,))


@ALL
def test_keeps_frozen_features_and_is_optimal_in_the_others(name) -> None:
    method, norm, slack = EACH[name]
    check_masked(method, norm, slack=2 * slack, shape=(6,))


class Counting(LinearTarget):
    """Counts the rows that it is asked for, in a way of its own."""

    asked: ClassVar[list[int]] = [0]

    def answer(self, x: torch.Tensor) -> torch.Tensor:
        self.asked[0] += len(x)
        return super().answer(x)


@ONCE
def test_spends_no_query_unseen_and_none_on_rows_that_are_misread_already(name) -> None:
    plain, x = two_class((6,), n=6)
    target = Counting(plain.weight, plain.bias, plain.space)
    goal = AwayFrom(1 - plain.answer(x))
    for wanted, cost in ((goal, 1), (AwayFrom(plain.answer(x)), None)):
        target.asked[0] = 0
        got = attack(short(name), target, x, wanted, Budget("l2", FREE), Run())
        assert target.asked[0] == got.forwards + len(x)  # the engine judges once more, uncounted
        assert cost is None or got.forwards == cost * len(x)
        assert got.success.all()
    assert got.forwards > 6 * len(x)


@ONCE
def test_rows_leave_once_they_are_within_their_own_budget(name) -> None:
    target, x = two_class((6,), n=8)
    goal, far = AwayFrom(target.answer(x)), target.distance(x, "l2")
    room = torch.where(torch.arange(8) < 7, 50.0, 0.5 * far)
    got = attack(short(name), target, x, goal, Budget("l2", room), Run())
    alone = attack(
        short(name), target, x[7:], goal.take(torch.tensor([7])), Budget("l2", FREE), Run()
    )
    assert got.success.tolist() == [True] * 7 + [False]
    assert got.forwards < 3 * alone.forwards + 8 * 60


@ONCE
def test_rows_without_a_start_stay_as_they_were(name) -> None:
    target = LinearTarget(torch.zeros(6, 2), torch.tensor([1.0, 0.0]))  # always class 0
    x = torch.full((3, 6), 0.5)
    method = replace(short(name), init_trials=9)
    got = attack(method, target, x, AwayFrom(torch.zeros(3).long()), Budget("l2", FREE), Run())
    assert not got.success.any()
    assert torch.equal(got.x, x)
    assert got.forwards == 3 * (1 + 9)


@ONCE
def test_columns_of_any_range_are_the_same_problem_in_their_own_units(name) -> None:
    plain, x = two_class((6,), n=6)
    scale = torch.logspace(-3, 4, 6)
    space = Box(torch.zeros(6), scale, scale)
    target = LinearTarget(plain.weight / scale.unsqueeze(1), plain.bias, space)
    goal = AwayFrom(plain.answer(x))
    one, other = (
        attack(short(name), t, inputs, goal, Budget("l2", FREE), Run()).distance
        for t, inputs in ((plain, x), (target, x * scale))
    )
    assert torch.allclose(one, other, rtol=0.05)


@ONCE
def test_needs_bounds_for_its_first_guesses(name) -> None:
    plain, x = two_class((6,), n=2)
    target = replace(plain, space=Box(-torch.inf, torch.inf))
    with pytest.raises(NotApplicable, match="bounds"):
        attack(short(name), target, x, AwayFrom(plain.answer(x)), Budget("l2", FREE), Run())


@ONCE
def test_no_rows_are_no_problem(name) -> None:
    target, none = two_class((6,), n=2)[0], torch.zeros(0).long()
    budget, rng = Budget("l2", FREE), torch.Generator()
    for goal in (AwayFrom(none), ToClass(none)):
        for candidate in short(name).run(target, torch.zeros(0, 6), goal, budget, rng):
            assert len(candidate.x) == 0


def test_a_targeted_row_starts_at_an_input_that_is_answered_as_wanted() -> None:
    class Islands(LinearTarget):
        """Class 1 in a small ball around 0.9, class 2 around 0.2 and class 3 around 0.1, else 0."""

        def answer(self, x: torch.Tensor) -> torch.Tensor:
            far = x[:, :, None] - torch.tensor([0.9, 0.2, 0.1])
            near = (far.square().mean(1).sqrt() < 0.02).float()
            return torch.cat([torch.full((len(x), 1), 0.5), near], 1).argmax(1)

    target = Islands(torch.zeros(1, 2), torch.zeros(2))
    x = torch.tensor([0.5, 0.905, 0.9, 0.2, 0.1]).view(-1, 1).expand(-1, 20).contiguous()
    goal = ToClass(torch.tensor([1, 1, 1, 3, 1]))
    got = attack(HopSkipJump(1, init_trials=1), target, x, goal, Budget("l2", FREE), Run())
    assert got.success.all()  # no noise ever hits an island
    assert got.distance[1] == got.distance[2] == 0
    # from 0.5 the ball around 0.9 begins 0.38 away; its centre would be at 0.4
    assert 0.38 * 20**0.5 < got.distance[0] < 0.384 * 20**0.5


def test_the_nearest_other_input_with_a_wanted_answer_is_known_without_a_query() -> None:
    x = torch.tensor([0.0, 0.9, 0.3, 0.2, 0.65]).view(-1, 1)
    told, budget = torch.tensor([0, 1, 1, 0, 2]), Budget("l2", FREE)
    away = nearest_other(Box(), x, told, AwayFrom(torch.tensor([0, 1, 1, 0, 2])), budget)
    assert away.tolist() == [2, 4, 3, 2, 1]
    to_one = nearest_other(Box(), x, told, ToClass(torch.ones(5).long()), budget)
    assert to_one.tolist() == [2, 2, 1, 2, 1]
    to_none = nearest_other(Box(), x, told, ToClass(torch.full((5,), 7)), budget)
    assert to_none.tolist() == [-1] * 5
