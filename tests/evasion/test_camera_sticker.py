"""Dots on the lens: blending by hand, the greedy choice by brute force, and digits behind them."""

from dataclasses import replace

import pytest
import torch

from holdfast.core.dataset import Dataset
from holdfast.core.record import ThreatModel
from holdfast.core.run import Run
from holdfast.engine.case import Case
from holdfast.engine.universal import assess, craft
from holdfast.evasion.attacks.camera_sticker import CameraSticker
from holdfast.evasion.printing import Crowd
from holdfast.ops.transforms import dots
from tests.toys import LinearTarget

ONE = CameraSticker(dots=1, places=4, views=0.0, radius=0.15, steps=1)


def pictures(channels: int = 1) -> tuple[LinearTarget, Dataset]:
    """Class 1 where the picture is bright around (0.375, 0.625), the third cell of the second column."""
    rng = torch.Generator().manual_seed(0)
    spot = dots((12, 12), torch.tensor([[0.375, 0.625]]), torch.tensor([0.15]), 1.5)
    weight = spot.expand(channels, 12, 12).flatten() - 0.1
    target = LinearTarget(torch.stack([-weight, weight], 1), torch.zeros(2))
    x = 0.4 + 0.2 * torch.rand(40, channels, 12, 12, generator=rng)
    return target, Dataset("pictures", x, torch.zeros(40, dtype=torch.long), ("a", "b"))


def test_the_first_dot_is_where_and_what_helps_most() -> None:
    target, data = pictures()
    first = next(ONE.craft(target, data, 1, torch.Generator().manual_seed(0)))
    cell = first.mask.argmax().item()
    assert (cell // 12, cell % 12) in {(7, 4), (7, 3), (8, 4), (6, 4), (7, 5)}
    assert first.delta[0].flatten()[cell].item() == pytest.approx(1.0, abs=1e-3)
    assert first.mask.max().item() <= ONE.opacity
    dark = next(ONE.craft(target, data.with_rows(data.tensor, 1 - data.y), 0, torch.Generator()))
    assert dark.delta[0].flatten()[dark.mask.argmax()].abs() < 1e-3


def test_the_sheet_is_what_blending_dot_after_dot_gives() -> None:
    crowd = Crowd.of(pictures(3)[1], 1, pictures(3)[0].space)
    rng = torch.Generator().manual_seed(3)
    rows = torch.rand(4, 7, generator=rng)
    method = CameraSticker()
    by_hand = crowd.x
    for row in rows:
        radius = method.radius * method.spread ** (2 * row[2:3] - 1)
        alpha = method.opacity * row[3] * dots((12, 12), row[None, :2], radius, method.sharpness)
        by_hand = (1 - alpha) * by_hand + alpha * row[4:].view(1, 3, 1, 1)
    assert torch.allclose(method.sheet(rows, crowd).apply(crowd.x, rng), by_hand, atol=1e-5)


def test_the_slopes_of_all_parameters_are_right() -> None:
    target, data = pictures()
    crowd = Crowd.of(data.with_rows(data.tensor.double()[:2], data.y[:2]), 1, target.space)
    rows = torch.rand(2, 5, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    show = lambda v: CameraSticker().sheet(v, crowd).apply(crowd.x, torch.Generator())  # noqa: E731
    assert torch.autograd.gradcheck(show, rows.requires_grad_())


def test_following_the_gradient_beats_the_greedy_dots() -> None:
    target, data = pictures()
    method = replace(ONE, steps=30, places=2)
    made = list(method.craft(target, data, 1, torch.Generator().manual_seed(0)))
    greedy, last = (
        target.scores(each.apply(data.tensor, torch.Generator()))[:, 1].mean()
        for each in (made[0], made[-1])
    )
    assert len(made) == 31
    assert last > greedy + 0.1


def test_dots_stay_translucent_and_within_their_sizes() -> None:
    target, data = pictures()
    delta = craft(replace(ONE, dots=3, steps=60, step_size=0.5), target, data, 1, Run()).delta
    assert delta.mask.min() >= 0
    assert delta.mask.max() <= 1 - (1 - ONE.opacity) ** 3 + 1e-6
    assert delta.delta.min() >= -1e-5
    assert delta.delta.max() <= 1 + 1e-5


def test_a_few_dots_on_the_lens_steer_digits(digits, digit_target) -> None:
    threat = ThreatModel("Gradients", wanted=9)
    evidence = assess(CameraSticker(), Case(digit_target, digits[1], threat), Run())
    found = {m.name: m.value for m in evidence.measurements}
    assert found["attack success"] > 0.7
    assert found["attack success"] > 3 * found["success of a random lens sticker"]
    assert found["attack success"] > found["success of a plain crop"] + 0.2
    assert found["success without lens sticker"] < 0.1
