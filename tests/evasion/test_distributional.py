"""The flow by an independent sum over pairs, its limits, and closed forms."""

import math

import pytest
import torch

from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.distributional import Distributional
from holdfast.evasion.attacks.pgd import PGD
from tests.oracles import check_fixed, check_masked, check_targeted, two_class
from tests.toys import LinearTarget


def unsure() -> tuple[LinearTarget, torch.Tensor]:
    """Two classes whose gradients are as large as the paper's, so that they lead and r follows."""
    target, x = two_class()
    return LinearTarget(target.weight / 2, target.bias / 2), x


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("flow", ["blob", "dgf"])
def test_reaches_a_linear_boundary_where_gradients_lead(norm: str, flow: str) -> None:
    check_fixed(Distributional(steps=60, weight=0.1, flow=flow), norm, *unsure())
    check_targeted(Distributional(steps=60, weight=0.1, flow=flow), norm)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_frozen_features_stay(norm: str) -> None:
    check_masked(Distributional(steps=60, weight=0.0), norm)
    target, x = unsure()
    editable = torch.arange(24) % 2 > 0
    masked = LinearTarget(target.weight, target.bias, Box(editable=editable))
    goal = AwayFrom(target.answer(x))
    got = attack(Distributional(steps=9), masked, x, goal, Budget(norm, 0.3), Run())
    assert torch.equal(got.x[:, ~editable], x[:, ~editable])
    assert got.success.any()


@pytest.mark.parametrize("flow", ["blob", "dgf"])
def test_the_flow_is_the_sum_over_pairs(flow: str) -> None:
    rng = torch.Generator().manual_seed(0)
    x, grad = (torch.randn(7, 5, generator=rng, dtype=torch.float64) for _ in range(2))
    squares = [[float((a - b).square().sum()) for b in x] for a in x]
    middle = sorted(d for row in squares for d in row)[7 * 7 // 2]
    h2 = 0.5 * middle / math.log(7 if flow == "blob" else 8)
    want = torch.zeros_like(x)
    for i in range(7):
        for j in range(7):
            k = math.exp(-squares[i][j] / h2 / 2)
            if flow == "blob":
                want[i] += 1.1 / 7 * k * (grad[j] - (x[i] - x[j]) / h2)
            else:
                want[i] -= 0.001 * (squares[i][j] / h2 / 2 - 1) * k * (x[i] - x[j])
    assert torch.allclose(Distributional(flow=flow)._flow(x, grad), want, atol=1e-12)


def test_a_row_alone_and_a_flow_of_no_weight_are_plain_pgd() -> None:
    target, x = two_class()
    budget, rows = Budget("linf", 0.02), torch.tensor([3])
    goal = AwayFrom(target.answer(x))
    pairs = [
        (x, goal, Distributional(steps=8, step_size=2.5, weight=0.0)),
        (x[rows], goal.take(rows), Distributional(steps=8, step_size=2.5)),
    ]
    for inputs, aim, method in pairs:
        one, other = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
        flowing = [c.x for c in method.run(target, inputs, aim, budget, one)][1:]
        plain = [c.x for c in PGD(steps=8).run(target, inputs, aim, budget, other)]
        assert all(torch.equal(a, b) for a, b in zip(flowing, plain, strict=True))


def test_neighbours_change_what_is_found() -> None:
    target, x = unsure()
    goal, budget = AwayFrom(target.answer(x)), Budget("linf", 0.01)
    together = attack(Distributional(steps=5), target, x, goal, budget, Run())
    weight_free = attack(Distributional(steps=5, weight=0.0), target, x, goal, budget, Run())
    assert not torch.equal(together.x, weight_free.x)


def test_columns_of_any_range_are_the_same_problem_in_their_own_units() -> None:
    target, x = unsure()
    scale = torch.logspace(-2, 3, 24)
    space = Box(torch.zeros(24), scale, scale)
    wide = LinearTarget(target.weight / scale.unsqueeze(1), target.bias, space)
    goal, budget = AwayFrom(target.answer(x)), Budget("l2", 0.1)
    for flow in ("blob", "dgf"):
        method = Distributional(steps=4, flow=flow)
        one, other = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
        plain = [c.x for c in method.run(target, x, goal, budget, one)]
        scaled = [c.x / scale for c in method.run(wide, x * scale, goal, budget, other)]
        assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(plain, scaled, strict=True))
