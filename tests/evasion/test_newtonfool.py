"""NewtonFool: its update by hand, and that a step is as long as the paper says."""

import pytest
import torch

from holdfast.core.goal import AwayFrom, ToClass
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.newtonfool import NewtonFool
from tests.oracles import two_class
from tests.toys import LinearTarget

FREE = Budget("l2", torch.inf)


@pytest.mark.parametrize("eta", [0.01, 10.0])
def test_one_step_is_that_of_equations_7_and_8(eta: float) -> None:
    """Both branches of the minimum: a share of the input's size, and the fall to 1 / K."""
    weight = torch.tensor([[2.0, 0.0, -1.0], [1.0, 0.5, 0.0]])
    bias = torch.tensor([-0.6, -0.05, 1.25])
    target = LinearTarget(weight, bias)
    x = torch.tensor([[0.7, 0.5]])
    own = target.answer(x)
    p = (x @ weight + bias).softmax(1)[0]
    y = int(own)
    g = p[y] * (weight[:, y] - weight @ p)
    fall = min(eta * float(x.norm()) * float(g.norm()), float(p[y]) - 1 / 3)
    expected = x - fall * g / g.square().sum()
    seen = []

    class Watched(LinearTarget):
        def gradient(self, x, loss):
            seen.append(x.clone())
            return super().gradient(x, loss)

    attack(NewtonFool(steps=1, eta=eta), Watched(weight, bias), x, AwayFrom(own), FREE, Run())
    assert torch.allclose(seen[1], expected, atol=1e-6)
    length = float((seen[1] - x).norm())
    assert length == pytest.approx(
        min(eta * float(x.norm()), (float(p[y]) - 1 / 3) / float(g.norm())), rel=1e-4
    )


@pytest.mark.parametrize("targeted", [False, True])
def test_two_class_rows_fall_within_one_step_of_the_boundary(targeted: bool) -> None:
    """On two classes the gradient points at the boundary; a step is at most eta |x| long."""
    target, x = two_class()
    own, far = target.answer(x), target.distance(x, "l2")
    goal = ToClass(1 - own) if targeted else AwayFrom(own)
    # far from the boundary the chance is flat and steps are full; none may be beyond the fall
    got = attack(NewtonFool(steps=400, eta=0.001), target, x, goal, FREE, Run())
    assert got.success.all()
    step = 0.001 * x.flatten(1).norm(dim=1)
    assert (got.distance >= far * (1 - 1e-4)).all()
    assert (got.distance <= far + step * 1.01).all()


def test_frozen_features_do_not_move_and_rows_that_are_wrong_cost_one_pass() -> None:
    target, x = two_class()
    free = torch.arange(24) % 3 > 0
    masked = LinearTarget(target.weight, target.bias, Box(editable=free))
    got = attack(NewtonFool(), masked, x, AwayFrom(target.answer(x)), FREE, Run())
    assert got.success.all()
    assert torch.equal(got.x[:, ~free], x[:, ~free])
    idle = attack(NewtonFool(), target, x, AwayFrom(1 - target.answer(x)), FREE, Run())
    assert idle.success.all()
    assert idle.forwards == len(x)
