"""Bisection over budgets turns any attack into one for the smallest change."""

import pytest
import torch

from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Budget
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
