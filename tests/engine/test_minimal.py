"""Bisection over budgets turns any attack into one for the smallest change."""

from dataclasses import dataclass

import pytest
import torch

from holdfast.core.goal import AwayFrom
from holdfast.core.kinds import Candidate, EvasionAttack
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.core.target import Gradients
from holdfast.engine.minimal import smallest
from holdfast.evasion.attacks.pgd import PGD
from tests.oracles import two_class


@pytest.mark.parametrize(("norm", "slack"), [("linf", 1.01), ("l2", 1.03)])
def test_ten_budgets_come_near_the_boundary(norm, slack) -> None:
    target, x = two_class()
    far = target.distance(x, norm)
    goal = AwayFrom(target.answer(x))
    got = smallest(PGD(steps=60), target, x, goal, Budget(norm, 0.02), Run(), 14)
    assert got.success.all()
    assert (got.distance >= far * (1 - 1e-4)).all()
    assert (got.distance <= far * slack).all(), float((got.distance / far).max())
    assert torch.allclose(target.space.distance(got.x, x, norm), got.distance, atol=1e-6)


def test_rows_that_never_fall_are_infinitely_far() -> None:
    target, x = two_class(n=4)
    goal = AwayFrom(target.answer(x))
    got = smallest(PGD(steps=2), target, x, goal, Budget("linf", 1e-6), Run(), 2)
    assert not got.success.any()
    assert got.distance.isinf().all()
    assert torch.equal(got.x, x)


def test_an_allowance_is_shared_by_all_rounds_and_what_is_saved_pays_for_more() -> None:
    target, x = two_class()
    far = target.distance(x, "linf")
    case = (target, x, AwayFrom(target.answer(x)), Budget("linf", 0.02))
    got = smallest(PGD(steps=9), *case, Run(queries=200), 10)
    assert 150 * len(x) < got.forwards + got.backwards <= 200 * len(x)
    ten = smallest(PGD(steps=9), *case, Run(), 10)  # the same without an allowance to use up
    assert ten.forwards + ten.backwards < got.forwards + got.backwards
    assert (got.distance <= ten.distance).all()
    assert (got.distance / far).mean() < (ten.distance / far).mean()


def test_a_row_that_stands_pays_for_whole_rounds_and_gets_no_more_than_its_own_allowance() -> None:
    target, x = two_class(n=4)
    goal = AwayFrom(target.answer(x))
    got = smallest(PGD(steps=40), target, x, goal, Budget("linf", 1e-9), Run(queries=30), 3)
    assert got.distance.isinf().all()
    assert got.forwards + got.backwards <= 27 * len(x)  # three passes go to judgements


@dataclass(frozen=True)
class Moody(EvasionAttack[Gradients]):
    """Goes as far as it may, the right way, but does not try at all half of the time."""

    def run(self, target, x, goal, budget, rng):
        way = target.space.steepest(target.gradient(x, goal.loss).wrt_input, x, budget)
        tries = (torch.rand(len(x), 1, generator=rng) < 0.5).float()
        adv = target.space.project(x + tries * budget.rows(x) * way, x, budget)
        yield Candidate(adv, goal.degree(target.answer(adv)))


def test_smaller_budgets_than_one_that_failed_by_chance_are_tried_again() -> None:
    target, x = two_class()
    goal = AwayFrom(target.answer(x))
    few, many = (
        smallest(Moody(), target, x, goal, Budget("linf", 0.1), Run(), rounds).distance.mean()
        for rounds in (12, 120)
    )
    assert many < 0.7 * few
