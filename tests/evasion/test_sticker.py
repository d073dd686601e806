"""Robust physical perturbations on a linear template classifier, whose best sticker is known."""

from dataclasses import replace

import pytest
import torch

from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError, NotApplicable
from holdfast.core.record import ThreatModel
from holdfast.core.run import Run
from holdfast.engine.case import Case
from holdfast.engine.universal import apply, assess, craft
from holdfast.evasion.attacks.sticker import RobustPhysicalPerturbation
from tests.toys import LinearTarget

DIGITAL = RobustPhysicalPerturbation(
    share=8 / 64, bars=2, shape=1.0, views=0.0, smoothness=0.0, printability=0.0, steps=40
)


def template(channels: int = 1) -> tuple[LinearTarget, Dataset]:
    """Class 1 has weight all over an 8 x 8 image, and ten times as much in two squares of 2 x 2."""
    rng = torch.Generator().manual_seed(0)
    weight = 0.05 * torch.randn(channels, 8, 8, generator=rng)
    sign = torch.where(torch.rand(channels, 8, 8, generator=rng) < 0.5, -1.0, 1.0)
    strong = torch.zeros(8, 8)
    strong[1:3, 5:7] = strong[4:6, 1:3] = 1
    weight = weight + 0.5 * sign * strong
    target = LinearTarget(
        torch.stack([-weight.flatten(), weight.flatten()], 1), torch.tensor([0.5, -0.5])
    )
    x = torch.rand(60, channels, 8, 8, generator=rng)
    return target, Dataset("templates", x, torch.zeros(60, dtype=torch.long), ("a", "b"))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("wanted", [1, None])
def test_it_lies_on_the_heaviest_squares_and_is_the_sign_of_the_weights_there(
    channels: int, wanted: int | None
) -> None:
    target, data = template(channels)
    delta = craft(DIGITAL, target, data, wanted, Run()).delta
    strong = torch.zeros(8, 8)
    strong[1:3, 5:7] = strong[4:6, 1:3] = 1
    assert torch.equal(delta.mask, strong)
    best = (target.weight[:, 1].view(channels, 8, 8) > 0).float()
    assert torch.allclose(delta.delta * strong, best * strong, atol=1e-4)


def test_it_leaves_everything_else_alone() -> None:
    target, data = template()
    delta = craft(DIGITAL, target, data, 1, Run()).delta
    moved = apply(delta, data.tensor, target, Run())
    outside = delta.mask == 0
    assert torch.equal(moved[..., outside], data.tensor[..., outside])
    assert torch.allclose(moved[..., ~outside], delta.delta[..., ~outside].expand(60, -1, -1))


def test_through_views_it_stays_the_sign_of_the_weights() -> None:
    target, data = template()
    delta = craft(replace(DIGITAL, views=1.0), target, data, 1, Run()).delta
    best = (target.weight[:, 1].view(1, 8, 8) > 0).float()
    inside = delta.mask == 1
    assert ((delta.delta - best).abs() < 0.5)[:, inside].float().mean() > 0.85


def test_a_high_price_makes_it_smooth_or_printable() -> None:
    target, data = template()
    rough = craft(DIGITAL, target, data, 1, Run()).delta
    smooth = craft(replace(DIGITAL, smoothness=100.0), target, data, 1, Run()).delta
    square = (slice(None), slice(1, 3), slice(5, 7))
    assert rough.delta[square].std() > 0.3
    assert smooth.delta[square].std() < 0.1
    priced = replace(DIGITAL, printability=100.0, gamut=0.5, steps=150, step_size=0.02)
    printed = craft(priced, target, data, 1, Run()).delta
    colours = torch.tensor([0.25, 0.5, 0.75])
    values = printed.delta[:, printed.mask == 1].flatten()
    assert (values.view(-1, 1) - colours).abs().amin(1).max() < 0.05
    assert rough.delta[:, rough.mask == 1].amax() > 0.99


def test_grey_stickers_are_not_for_colour_images_nor_for_tables() -> None:
    target, data = template()
    delta = craft(replace(DIGITAL, steps=1), target, data, 1, Run()).delta
    with pytest.raises(InputError, match="1 channels"):
        delta.apply(torch.rand(2, 3, 8, 8), torch.Generator())
    table = Dataset("table", torch.rand(9, 64), torch.zeros(9, dtype=torch.long), ("a", "b"))
    with pytest.raises(NotApplicable, match="images"):
        craft(DIGITAL, target, table, 1, Run())


@pytest.mark.parametrize("targeted", [True, False])
def test_it_steers_digits_in_random_views_far_above_its_controls(
    targeted: bool, digits, digit_target
) -> None:
    threat = ThreatModel("Gradients", wanted=9 if targeted else None)
    method = RobustPhysicalPerturbation(steps=40, targeted=targeted)
    evidence = assess(method, Case(digit_target, digits[1], threat), Run())
    found = {m.name: m.value for m in evidence.measurements}
    assert found["attack success"] > (0.8 if targeted else 0.5)
    assert found["attack success, digital"] > (0.8 if targeted else 0.5)
    assert found["success without sticker"] < 0.1
    assert found["success of a random sticker"] < found["attack success"] - 0.1
    assert found["clean accuracy in views"] > 0.85
    assert {"delta", "mask"} < evidence.tensors.keys()
    assert ("success of a plain crop" in found) == targeted
