"""Eyeglass frames: their shape, their update by hand, and digits that wear them."""

from dataclasses import replace

import pytest
import torch

from holdfast.core.dataset import Dataset
from holdfast.core.record import ThreatModel
from holdfast.core.run import Run
from holdfast.engine.case import Case
from holdfast.engine.universal import apply, assess, craft
from holdfast.evasion.attacks.eyeglasses import EyeglassFrames, frame
from tests.toys import LinearTarget

PLAIN = EyeglassFrames(
    shift=0.0, rotation=0.0, views=0.0, smoothness=0.0, printability=0.0, momentum=0.0
)


def faces(seed: int = 0) -> tuple[LinearTarget, Dataset]:
    """16 x 16 images; every pixel speaks for or against class 1 with the same weight."""
    rng = torch.Generator().manual_seed(seed)
    weight = torch.where(torch.rand(256, generator=rng) < 0.5, -0.1, 0.1)
    target = LinearTarget(torch.stack([-weight, weight], 1), torch.tensor([2.0, -2.0]))
    x = torch.rand(50, 1, 16, 16, generator=rng)
    return target, Dataset("faces", x, torch.zeros(50, dtype=torch.long), ("a", "b"))


def test_the_frames_are_symmetric_leave_the_eyes_free_and_cover_what_the_paper_says() -> None:
    mask = frame(torch.zeros(224, 224), EyeglassFrames().thickness)
    assert torch.equal(mask, mask.flip(1))
    assert mask.mean().item() == pytest.approx(0.065, abs=0.005)
    assert mask[int(0.4 * 224), int(0.29 * 224)] == 0  # the middle of a lens
    assert mask[: int(0.2 * 224)].sum() == 0
    assert mask[int(0.6 * 224) :].sum() == 0
    row = mask[int(0.36 * 224)]
    assert row[0] == row[112] == 1  # temple and bridge


@pytest.mark.parametrize("side", [8, 16, 28, 32])
def test_lines_never_get_thinner_than_a_pixel_on_small_images(side: int) -> None:
    mask = frame(torch.zeros(side, side), 0.01)
    assert (mask.sum(0) > 0).all()  # from ear to ear


@pytest.mark.parametrize("wanted", [1, None])
def test_the_frames_become_the_sign_of_the_weights(wanted: int | None) -> None:
    target, data = faces()
    delta = craft(replace(PLAIN, steps=30), target, data, wanted, Run()).delta
    best = (target.weight[:, 1].view(1, 16, 16) > 0).float()
    assert torch.allclose(delta.delta * delta.mask, best * delta.mask, atol=1e-4)
    moved = apply(delta, data.tensor, target, Run())
    assert torch.equal(moved[..., delta.mask == 0], data.tensor[..., delta.mask == 0])


def test_momentum_adds_up_as_by_hand_and_the_start_is_the_best_printable_colour() -> None:
    target, data = faces()
    weight = target.weight[:, 1].view(1, 16, 16)
    method = replace(PLAIN, steps=3, momentum=0.4, step_size=0.01, gamut=0.8)
    made = craft(method, target, data, 1, Run()).delta
    up = float((weight * made.mask).sum()) > 0
    start = 0.9 if up else 0.1  # all light where light helps on the whole, all dark where not
    # velocities 1, 1.4 and 1.56 steps
    by_hand = start + 0.01 * (1 + 1.4 + 1.56) * weight.sign()
    inside = made.mask == 1
    assert torch.allclose(made.delta[:, inside], by_hand[:, inside], atol=1e-5)


def test_smoothness_pulls_a_pixel_towards_its_neighbours() -> None:
    target, data = faces()
    rough = craft(replace(PLAIN, steps=40), target, data, 1, Run()).delta
    smooth = craft(replace(PLAIN, steps=40, smoothness=0.3), target, data, 1, Run()).delta
    inside = rough.mask == 1
    assert smooth.delta[:, inside].std() < 0.8 * rough.delta[:, inside].std()


def test_printability_pulls_colours_to_those_a_printer_has() -> None:
    target, data = faces()

    def farthest(price: float) -> float:
        method = replace(PLAIN, steps=60, printability=price, gamut=0.8, step_size=0.02)
        delta = craft(method, target, data, 1, Run()).delta
        values = delta.delta[:, delta.mask == 1].reshape(-1, 1)
        return float((values - torch.tensor([0.1, 0.5, 0.9])).abs().amin(1).max())

    assert farthest(0.0) == pytest.approx(0.1, abs=1e-4)  # all the way to black and white
    assert farthest(0.03) < 0.07


def test_loose_frames_move_from_face_to_face_but_the_same_way_every_time() -> None:
    target, data = faces()
    delta = craft(replace(PLAIN, steps=1, shift=0.1), target, data, 1, Run()).delta
    black = torch.zeros(40, 1, 16, 16)
    worn = delta.refilled(torch.ones(1, 16, 16)).apply(black, torch.Generator().manual_seed(0))
    middle = (worn[:, 0].sum(2) * torch.arange(16)).sum(1) / worn[:, 0].sum((1, 2))
    assert middle.std() > 0.3
    again = delta.refilled(torch.ones(1, 16, 16)).apply(black, torch.Generator().manual_seed(0))
    assert torch.equal(worn, again)


@pytest.mark.parametrize("targeted", [True, False])
def test_impersonation_and_dodging_work_on_digits_above_their_controls(
    targeted: bool, digits, digit_target
) -> None:
    threat = ThreatModel("Gradients", wanted=9 if targeted else None)
    method = EyeglassFrames(steps=40, targeted=targeted)
    evidence = assess(method, Case(digit_target, digits[1], threat), Run())
    found = {m.name: m.value for m in evidence.measurements}
    assert found["attack success"] > 0.7
    assert found["attack success"] > found["success of a random frame"] + 0.15
    assert found["success without frame"] < 0.1
