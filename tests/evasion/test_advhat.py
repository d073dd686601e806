"""AdvHat against linear models, where the way uphill through the bend is known."""

from dataclasses import replace

import pytest
import torch

from holdfast.core.dataset import Dataset
from holdfast.core.record import ThreatModel
from holdfast.core.run import Run
from holdfast.engine.case import Case
from holdfast.engine.universal import assess, craft
from holdfast.evasion.attacks.advhat import AdvHat, Hat
from tests.toys import LinearTarget

PLAIN = AdvHat(views=0.0, smoothness=0.0, momentum=0.0, last_momentum=0.0, batch=16)


def faces() -> tuple[LinearTarget, Dataset]:
    rng = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(
        torch.randn(1, 1, 5, 5, generator=rng), size=(20, 20), mode="bilinear"
    )
    weight = 0.1 * smooth.flatten()
    target = LinearTarget(torch.stack([-weight, weight], 1), torch.zeros(2))
    x = 0.2 + 0.6 * torch.rand(50, 1, 20, 20, generator=rng)
    return target, Dataset("faces", x, torch.zeros(50, dtype=torch.long), ("a", "b"))


def pulled_back(target: LinearTarget, hat: Hat) -> torch.Tensor:
    """Weight of every pixel of the sticker, on average over 500 bends, by autograd."""
    content = hat.delta.clone().requires_grad_()
    seen = hat.refilled(content).apply(
        torch.zeros(500, 1, 20, 20), torch.Generator().manual_seed(1)
    )
    way = target.weight[:, 1].view(20, 20)
    return torch.autograd.grad((seen * way).sum() / 500, content)[0]


@pytest.mark.parametrize("wanted", [1, None])
def test_the_sticker_is_the_sign_of_the_weights_seen_through_the_bend(wanted: int | None) -> None:
    target, data = faces()
    hat = craft(replace(PLAIN, steps=80), target, data, wanted, Run()).delta
    pull = pulled_back(target, hat)
    clear = pull.abs() > 0.1 * pull.abs().max()
    assert clear.float().mean() > 0.6
    assert torch.allclose(hat.delta[clear], (pull > 0).float()[clear], atol=1e-4)


def test_the_two_stages_take_steps_of_their_own_sizes() -> None:
    target, data = faces()
    made = PLAIN.craft(target, data, 1, torch.Generator().manual_seed(0))
    hats = [hat.delta for hat, _ in zip(made, range(100), strict=False)]
    first, last = (hats[i + 1] - hats[i] for i in (0, 98))
    free = (hats[98] > 0.05) & (hats[98] < 0.95)
    assert first.abs().max().item() == pytest.approx(5 / 255, rel=1e-3)
    assert last[free].numel() == 0 or last[free].abs().max().item() <= 1.001 / 255
    assert (hats[51] - hats[50]).abs().max().item() <= 1.001 / 255


def test_it_covers_the_upper_part_of_the_image_as_wide_as_bent_paper() -> None:
    hat = Hat(torch.ones(1, 31, 70), 0.225, 1.17, 17.0)
    seen = hat.apply(torch.zeros(20, 1, 100, 100), torch.Generator().manual_seed(0))
    rows, columns = seen.mean((0, 1)).sum(1), seen.mean((0, 1)).sum(0)
    assert rows[60:].max() == 0
    assert 5 < rows.argmax() < 40
    # the arc from 0 to 30.4 of a parabola of rate 1.17 / 70 is 35 long, half of the paper's width
    assert (columns > columns[50] / 2).sum().item() == pytest.approx(2 * 30.4, abs=2.5)


def test_smoothness_costs_contrast() -> None:
    target, data = faces()
    rough, smooth = (
        craft(replace(PLAIN, steps=60, smoothness=price), target, data, 1, Run()).delta.delta
        for price in (0.0, 20.0)
    )
    assert smooth.std() < 0.5 * rough.std()


def test_it_hides_digits_in_random_views_above_its_controls(digits, digit_target) -> None:
    case = Case(digit_target, digits[1], ThreatModel("Gradients"))
    evidence = assess(AdvHat(steps=80), case, Run())
    found = {m.name: m.value for m in evidence.measurements}
    assert found["attack success"] > 0.35
    assert found["attack success"] > found["success of a random sticker"] + 0.1
    assert found["success without sticker"] < 0.1
