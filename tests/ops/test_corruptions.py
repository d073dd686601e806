"""Corruptions do exactly what their level says, and to each image whatever batch it is in."""

import math

import pytest
import torch
from torch import Tensor

from holdfast.ops.corruptions import (
    CORRUPTIONS,
    PROPERTIES,
    Draws,
    brightness,
    contrast,
    corrupt,
    fog,
    gaussian_blur,
    gaussian_noise,
    impulse_noise,
    rotate,
    shift,
    smear,
    snow,
    translate,
    turn,
)
from holdfast.ops.stats import clopper_pearson

EACH = pytest.mark.parametrize("name", CORRUPTIONS)


def images(count: int, channels: int = 1, height: int = 8, width: int = 8) -> Tensor:
    """Random images on the 8-bit grid."""
    rng = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, channels, height, width), generator=rng) / 255


def draws(count: int, seed: int = 0) -> Draws:
    return Draws(seed, torch.arange(count), "test")


def spot(side: int) -> Tensor:
    """One white pixel in the middle of a black image of odd side."""
    x = torch.zeros(1, 1, side, side)
    x[..., side // 2, side // 2] = 1
    return x


def spread(x: Tensor) -> tuple[float, float]:
    """Variance of a distribution over pixels, down and across, in square pixels."""
    place = torch.arange(x.shape[-1]) - (x.shape[-1] // 2)
    share = x[0, 0] / x.sum()
    return float((share.sum(1) * place**2).sum()), float((share.sum(0) * place**2).sum())


@EACH
def test_severity_zero_changes_nothing(name: str) -> None:
    x = images(3)
    assert torch.equal(corrupt(name, x, 0, torch.arange(3), 0), x)


@EACH
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 14), (1, 40, 33)])
def test_images_of_any_size_stay_images_on_the_eight_bit_grid(
    name: str, shape: tuple[int, int, int]
) -> None:
    x = images(4, *shape)
    for severity in (1, 5):
        out = corrupt(name, x, severity, torch.arange(4), 0)
        assert out.shape == x.shape
        assert out.min() >= 0
        assert out.max() <= 1
        assert torch.allclose(out * 255, (out * 255).round(), atol=1e-3)
        assert not torch.equal(out, x)


@EACH
def test_an_image_is_corrupted_alike_in_every_batch(name: str) -> None:
    x = images(6)
    whole = corrupt(name, x, 4, torch.arange(6), 7)
    part = corrupt(name, x[3:5], 4, torch.tensor([3, 4]), 7)
    assert torch.allclose(part, whole[3:5], atol=1 / 255 + 1e-6)  # convolutions round by batch
    assert torch.equal(whole, corrupt(name, x, 4, torch.arange(6), 7))


@pytest.mark.parametrize(
    "name", sorted(set(CORRUPTIONS) - {"brightness", "contrast", "gaussian_blur"})
)
def test_random_corruptions_differ_between_rows_and_seeds(name: str) -> None:
    x = images(1, height=16, width=16).expand(12, 1, 16, 16)
    one = corrupt(name, x, 5, torch.arange(12), 0)
    other = corrupt(name, x, 5, torch.arange(12), 1)
    assert len(one.flatten(1).unique(dim=0)) > 1
    assert not torch.equal(one, other)


def test_every_property_has_two_corruptions_at_five_levels() -> None:
    assert sorted(n for members in PROPERTIES.values() for n in members) == sorted(CORRUPTIONS)
    assert all(len(members) == 2 for members in PROPERTIES.values())
    assert all(len(c.levels) == 5 and c.source for c in CORRUPTIONS.values())


def test_brightness_adds_exactly_its_level() -> None:
    x = images(4)
    added = corrupt("brightness", x, 4, torch.arange(4), 0)  # 0.2 is 51 of 255
    assert torch.allclose(added, (x + 51 / 255).clamp(max=1), atol=1e-6)
    assert torch.allclose(brightness(x, (0.05,), draws(4)) - x, torch.tensor(0.05))


def test_contrast_keeps_the_mean_and_shrinks_the_rest() -> None:
    x = images(4, channels=3)
    out = contrast(x, (0.3,), draws(4))
    assert torch.allclose(out.mean((2, 3)), x.mean((2, 3)), atol=1e-6)
    assert torch.allclose(out.std((2, 3)), 0.3 * x.std((2, 3)), atol=1e-6)


def test_a_shift_by_whole_pixels_is_exact_and_repeats_the_edge() -> None:
    x = images(2, height=9, width=8)
    out = shift(x, torch.tensor([2, 0]), torch.tensor([0, -3]))
    assert torch.equal(out[0, :, 2:], x[0, :, :-2])
    assert torch.equal(out[0, :, :2], x[0, :, :1].expand(1, 2, 8))
    assert torch.equal(out[1, :, :, :-3], x[1, :, :, 3:])


def test_translation_goes_all_four_ways_by_the_stated_number_of_pixels() -> None:
    x = spot(21).expand(60, 1, 21, 21)
    out = translate(x, (0.2,), draws(60))  # 0.2 of 21 is 4 pixels
    place = out.flatten(1).argmax(1)
    moved = {(int(p) // 21 - 10, int(p) % 21 - 10) for p in place}
    assert moved == {(4, 0), (-4, 0), (0, 4), (0, -4)}


def test_a_quarter_turn_is_exact_and_a_rotation_has_the_stated_angle() -> None:
    x = images(2, height=9, width=9)
    turned = turn(x, torch.tensor([math.pi / 2, -math.pi / 2]))
    assert torch.allclose(turned[0], torch.rot90(x[0], 1, (1, 2)), atol=1e-5)
    assert torch.allclose(turned[1], torch.rot90(x[1], -1, (1, 2)), atol=1e-5)
    hand = torch.zeros(30, 1, 41, 41)
    hand[..., 20, 35] = 1  # 15 pixels to the right of the centre
    out = rotate(hand, (30,), draws(30))
    mass = out.sum((1, 2, 3))
    down = (out.sum((1, 3)) * (torch.arange(41) - 20)).sum(1) / mass
    across = (out.sum((1, 2)) * (torch.arange(41) - 20)).sum(1) / mass
    angle = torch.atan2(-down, across) * 180 / math.pi
    assert torch.allclose(angle.abs(), torch.full((30,), 30.0), atol=1)
    assert (angle > 0).any()
    assert (angle < 0).any()


def test_blur_is_linear_keeps_constants_and_has_the_stated_width() -> None:
    a, b = images(3), images(3).flip(2)
    mixed = gaussian_blur(0.3 * a + 0.7 * b, (0.8,), draws(3))
    parts = 0.3 * gaussian_blur(a, (0.8,), draws(3)) + 0.7 * gaussian_blur(b, (0.8,), draws(3))
    assert torch.allclose(mixed, parts, atol=1e-6)
    flat = torch.full((2, 3, 8, 8), 0.4)
    assert torch.allclose(gaussian_blur(flat, (1.0,), draws(2)), flat, atol=1e-6)
    for sigma in (0.8, 1.0):
        assert spread(gaussian_blur(spot(21), (sigma,), draws(1))) == pytest.approx(
            (sigma**2, sigma**2), rel=0.04
        )


def test_lengths_grow_with_images_above_32_pixels() -> None:
    small, large = (spread(gaussian_blur(spot(s), (1.0,), draws(1)))[0] for s in (31, 65))
    assert large / small == pytest.approx((65 / 32) ** 2, rel=0.04)


def test_a_smear_keeps_constants_and_spreads_along_its_line_only() -> None:
    level = torch.zeros(1)
    down, across = spread(smear(spot(41), level, 12, 3.0))
    assert down == pytest.approx(0, abs=1e-5)
    assert across == pytest.approx(9, rel=0.02)
    slanted = smear(spot(41), torch.tensor([math.pi / 4]), 12, 3.0)
    place = (torch.arange(41) - 20).float()
    product = float((slanted[0, 0] * place[:, None] * place[None]).sum())
    assert product == pytest.approx(-4.5, rel=0.05)  # up to the right: rows count downwards
    flat = torch.full((2, 1, 9, 9), 0.6)
    assert torch.allclose(smear(flat, torch.tensor([0.3, 2.0]), 6, 2.0), flat, atol=1e-5)


def test_noise_has_the_stated_standard_deviation() -> None:
    x = torch.full((50, 1, 20, 20), 0.5)
    for level in (0.04, 0.1):
        noise = gaussian_noise(x, (level,), draws(50)) - x
        n = noise.numel()
        assert float(noise.std()) == pytest.approx(level, abs=4 * level / math.sqrt(2 * n))
        assert float(noise.mean()) == pytest.approx(0, abs=4 * level / math.sqrt(n))


def test_impulse_noise_hits_the_stated_share_half_black_half_white() -> None:
    x = torch.full((400, 1, 20, 20), 0.5)
    out = impulse_noise(x, (0.07,), draws(400))
    for value in (0, 1):
        low, high = clopper_pearson(int((out == value).sum()), out.numel(), confidence=0.999)
        assert low < 0.035 < high
    assert set(out.unique().tolist()) == {0, 0.5, 1}


def test_fog_covers_from_nothing_to_its_strength_and_keeps_the_brightest_value() -> None:
    x = torch.full((5, 1, 16, 16), 0.8)
    out = fog(x, (1.0, 2.0), draws(5))
    # x + strength * haze with haze from 0 to 1, scaled by max / (max + strength)
    assert torch.allclose(out.amax((1, 2, 3)), torch.tensor(0.8), atol=1e-5)
    assert torch.allclose(out.amin((1, 2, 3)), torch.tensor(0.8 * 0.8 / 1.8), atol=1e-5)


def test_fog_of_slower_decay_is_rougher() -> None:
    x = torch.full((20, 1, 32, 32), 0.5)
    rough, smooth = (fog(x, (1.0, decay), draws(20)).diff(dim=3).abs().mean() for decay in (1.5, 4))
    assert rough > 2 * smooth


def test_snow_whitens_and_more_flakes_fall_at_a_lower_threshold() -> None:
    x = images(8, height=32, width=32)
    none = snow(x, (0.0, 0.1, 1, 9.0, 6, 2, 0.9), draws(8))
    white = 0.9 * x + 0.1 * torch.maximum(x, 1.5 * x + 0.5)
    assert torch.allclose(none, white, atol=1e-6)
    few, many = (snow(x, (0.1, 0.3, 1, t, 6, 2, 0.9), draws(8)) - none for t in (0.8, 0.4))
    assert (few >= -1e-6).all()
    assert many.mean() > 2 * few.mean() > 0
