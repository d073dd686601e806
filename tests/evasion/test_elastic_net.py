"""The elastic-net attack: its step by hand, and the least L1 and L2 changes of linear models."""

import pytest
import torch

from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.elastic_net import ElasticNet
from tests.oracles import check_masked, check_minimum, check_targeted, two_class
from tests.toys import LinearTarget

SPARSE = ElasticNet(beta=0.2, steps=300)
"""With a weight on L1 that outweighs the square, one feature does it all, as is best in L1."""


def test_a_large_beta_finds_the_least_l1_change() -> None:
    check_minimum(SPARSE, "l1", *two_class(n=8))


def test_without_beta_it_finds_the_least_l2_change() -> None:
    check_minimum(ElasticNet(beta=0.0, steps=300), "l2", *two_class(n=8))


@pytest.mark.parametrize("check", [check_targeted, check_masked])
def test_goals_and_masks_cost_what_they_must(check) -> None:
    check(SPARSE, "l1", slack=0.01)


def test_two_steps_are_those_of_the_algorithm() -> None:
    """Alg. 1 by hand: gradient, shrinkage by beta, momentum k / (k + 3), root decay."""
    weight = torch.tensor([[3.0, -3.0], [0.5, -0.5], [1.0, -1.0]])
    x = torch.tensor([[0.6, 0.5, 0.999]])
    c, beta, rate = 0.5, 0.004, 0.01
    seen = []

    class Watched(LinearTarget):
        def gradient(self, x, loss):
            seen.append(x.clone())
            return super().gradient(x, loss)

    target = Watched(weight, torch.zeros(2))
    slope = weight[:, 1] - weight[:, 0]  # of the margin, all the way
    method = ElasticNet(steps=4, beta=beta, initial_c=c, search_steps=1)
    attack(method, target, x, AwayFrom(target.answer(x)), Budget("l1", torch.inf), Run())
    change, momentum = torch.zeros(3), torch.zeros(3)
    for k in range(3):
        assert torch.allclose(seen[k][0], x[0] + momentum, atol=1e-6), k
        step = momentum - rate * (1 - k / 4) ** 0.5 * (-c * slope + 2 * momentum)
        new = step.sign() * (step.abs() - beta).clamp(min=0)
        momentum, change = new + k / (k + 3) * (new - change), new


def test_beta_makes_changes_sparse(digit_target, digits) -> None:
    x = digits[1].x[:16]
    goal = AwayFrom(digit_target.answer(x))
    sizes = []
    for beta in (0.0, 0.01):
        method = ElasticNet(beta=beta, steps=50, search_steps=6, initial_c=0.1)
        got = attack(method, digit_target, x, goal, Budget("l1", torch.inf), Run())
        assert got.success.all()
        sizes.append((got.distance.median(), (got.x != x).flatten(1).sum(1).float().median()))
    assert sizes[1][0] < sizes[0][0]
    assert sizes[1][1] < 0.7 * sizes[0][1]
