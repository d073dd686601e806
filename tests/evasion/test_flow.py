"""Flows on models that know where things are, whose least flow is known."""

from dataclasses import replace

import pytest
import torch

from holdfast.core.errors import NotApplicable
from holdfast.core.goal import AwayFrom, Pixels, ToClass
from holdfast.core.record import ThreatModel
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.engine.case import Case
from holdfast.engine.curve import assess
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.flow import Flow, uphill
from holdfast.ops.transforms import flowed
from tests.toys import LinearTarget

FREE = Budget("any", 0.0)


def step_edge(editable: torch.Tensor | None = None) -> tuple[LinearTarget, torch.Tensor]:
    """The left half is lit; class 1 where the pixel right of the edge, (4, 5), is above one half.

    A flow of half a pixel to the left at that pixel is what it takes.
    """
    weight = torch.zeros(100, 2)
    weight[45, 1] = 10
    x = torch.zeros(1, 1, 10, 10)
    x[..., :5] = 1
    return LinearTarget(weight, torch.tensor([5.0, 0.0]), Box(editable=editable)), x


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize(("max_flow", "reached"), [(0.055, True), (0.045, False)])
def test_half_a_pixel_of_flow_moves_an_edge_by_half_a_pixel_and_less_does_not(
    max_flow: float, reached: bool, targeted: bool
) -> None:
    target, x = step_edge()
    goal = ToClass(torch.tensor([1])) if targeted else AwayFrom(torch.tensor([0]))
    got = attack(Flow(max_flow=max_flow, tau=0.01), target, x, goal, FREE, Run())
    assert bool(got.success) == reached
    if reached:
        assert got.x[0, 0, 4, 5] > 0.5
        assert (got.x[..., :4] == 1).all()


def test_frozen_pixels_do_not_move() -> None:
    editable = torch.ones(1, 10, 10, dtype=torch.bool)
    editable[0, 4, 5] = False
    target, x = step_edge(editable)
    got = attack(Flow(), target, x, AwayFrom(torch.tensor([0])), FREE, Run())
    assert not got.success
    search = Flow(steps=3).run(
        target, x, AwayFrom(torch.tensor([0])), FREE, torch.Generator().manual_seed(0)
    )
    assert all(each.x[0, 0, 4, 5] == 0 for each in search)


def walk(method: Flow, target: LinearTarget, x: torch.Tensor, goal: AwayFrom) -> list[torch.Tensor]:
    """All candidates, with no row taken away."""
    search = method.run(target, x, goal, FREE, torch.Generator().manual_seed(0))
    return [each.x for each in search]


def test_the_slope_in_the_flow_is_autograds_between_pixels_and_the_mean_of_both_sides_on_them() -> (
    None
):
    rng = torch.Generator().manual_seed(0)
    x, of_image = (torch.rand(2, 3, 6, 7, generator=rng, dtype=torch.double) for _ in range(2))
    flow = 0.2 + 0.6 * torch.rand(2, 2, 6, 7, generator=rng, dtype=torch.double)
    leaf = flow.clone().requires_grad_()
    (by_autograd,) = torch.autograd.grad((flowed(x, leaf) * of_image).sum(), leaf)
    assert torch.allclose(uphill(x, flow, of_image), by_autograd, atol=1e-9)
    still = uphill(x, torch.zeros_like(flow), of_image)
    both = of_image[..., 1:-1] * (x[..., 2:] - x[..., :-2]) / 2
    assert torch.allclose(still[:, 0, :, 1:-1], both.sum(1), atol=1e-9)


def test_the_first_step_is_adams_along_the_slope_of_the_margin() -> None:
    target, x = LinearTarget.random(64, 3), torch.rand(
        4, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.double
    )  # fmt: skip
    target = LinearTarget(target.weight.double(), target.bias.double())
    goal = AwayFrom(target.answer(x))
    seen = walk(Flow(tau=0.0, steps=1, kappa=1e9), target, x, goal)
    assert len(seen) == 4  # clean, the random flow, the start and one step from it
    assert (goal.margin(target.scores(seen[3])) > goal.margin(target.scores(seen[2]))).all()


def test_a_larger_tau_gives_a_smoother_flow() -> None:
    """On a ramp of brightness what a pixel gains is how far it moved, so the flow can be read off."""
    ramp = torch.linspace(0.2, 0.8, 20).view(1, 1, 1, 20).expand(1, 1, 20, 20).contiguous()
    target = LinearTarget.random(400, 2)
    goal = AwayFrom(target.answer(ramp))
    rough, gain = [], []
    for tau in (0.0, 0.05):
        last = walk(Flow(tau=tau, steps=40, kappa=1e9), target, ramp, goal)[-1]
        moved = (last - ramp)[..., 3:-3] / (0.6 / 19)
        rough.append(float(moved.diff(dim=2).abs().mean() + moved.diff(dim=3).abs().mean()))
        gain.append(float(goal.margin(target.scores(last)) - goal.margin(target.scores(ramp))))
    assert rough[1] < 0.5 * rough[0]
    assert 0 < gain[1] < gain[0]


def test_no_value_is_made_up_and_no_pixel_comes_from_farther_than_allowed() -> None:
    target = LinearTarget.random(100, 4)
    x = torch.rand(5, 1, 10, 10, generator=torch.Generator().manual_seed(1))
    near = torch.nn.functional.max_pool2d(x, 5, stride=1, padding=2)
    far = -torch.nn.functional.max_pool2d(-x, 5, stride=1, padding=2)
    for each in walk(Flow(max_flow=0.2, steps=20), target, x, AwayFrom(target.answer(x))):
        assert (each <= near + 1e-5).all()
        assert (each >= far - 1e-5).all()


def test_only_classes_of_images_have_flows() -> None:
    target = LinearTarget.random(6, 2)
    x = torch.rand(3, 6, generator=torch.Generator().manual_seed(0))
    with pytest.raises(NotApplicable, match="images"):
        attack(Flow(), target, x, AwayFrom(target.answer(x)), FREE, Run())
    dense = Pixels(torch.zeros(3, 2, 3, dtype=torch.long))
    with pytest.raises(NotApplicable, match="classifiers"):
        attack(Flow(), target, x.view(3, 1, 2, 3), dense, FREE, Run())


def test_on_digits_it_far_outdoes_a_random_flow_of_the_same_length(digits, digit_target) -> None:
    case = Case(digit_target, digits[1].first(60), ThreatModel("Gradients"))
    for method, most in ((Flow(steps=60), 0.2), (replace(Flow(), max_flow=0.0, steps=5), 1.0)):
        evidence = assess(method, case, Run())
        found = {m.name: m.value for m in evidence.measurements}
        assert found["robust accuracy"] <= most
        if method.max_flow:
            assert found["accuracy under one try"] > 0.7
        else:
            assert found["robust accuracy"] == found["clean accuracy"]
