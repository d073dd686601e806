"""L-BFGS against linear models: the largest penalty that still fools gives the least change."""

import torch

from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.lbfgs import LBFGS, _objective
from tests.oracles import check_masked, check_minimum, check_targeted, two_class


def test_a_linear_model_falls_at_its_distance() -> None:
    check_minimum(LBFGS(), "l2", *two_class(n=8))


def test_towards_a_class_costs_what_leaving_the_other_costs() -> None:
    check_targeted(LBFGS(), "l2", slack=0.01, shape=(6,))


def test_frozen_features_do_not_move() -> None:
    check_masked(LBFGS(), "l2", slack=0.01, shape=(6,))


def test_the_objective_and_its_gradient_are_those_of_the_paper() -> None:
    """Value by hand, gradient by central differences in double precision."""
    target, x = two_class(n=1)
    x = x.double()
    target = type(target)(target.weight.double(), target.bias.double())
    goal = AwayFrom(target.answer(x))
    value = _objective(target, x, goal, 0.7, [])
    r = 0.01 * torch.arange(24).double() / 24
    told, grad = value(r.numpy())
    loss = torch.nn.functional.cross_entropy(target.scores(x + r), 1 - goal.labels)
    assert abs(told - (0.35 * float(r.square().sum()) + float(loss))) < 1e-9
    for i in (0, 7, 23):
        h = torch.zeros(24).double()
        h[i] = 1e-5
        slope = (value((r + h).numpy())[0] - value((r - h).numpy())[0]) / 2e-5
        assert abs(slope - grad[i]) < 1e-5


def test_rows_that_are_wrong_cost_one_look() -> None:
    target, x = two_class()
    got = attack(LBFGS(), target, x, AwayFrom(1 - target.answer(x)), Budget("l2", torch.inf), Run())
    assert got.success.all()
    assert (got.distance == 0).all()
    assert (got.forwards, got.backwards) == (len(x), 0)
