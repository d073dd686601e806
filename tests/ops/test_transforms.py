"""Image changes against SciPy, NumPy and finite differences."""

import pytest
import torch
from scipy import ndimage

from holdfast.ops import transforms

SQUARE = torch.arange(1.0, 10).view(1, 3, 3) / 10


def placed(pose: list[float], patch: torch.Tensor = SQUARE, size: int = 9) -> torch.Tensor:
    image = torch.zeros(1, 1, size, size)
    return transforms.paste(image, patch, torch.ones(patch.shape[1:]), torch.tensor([pose]))[0, 0]


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_the_median_filter_is_scipys(size: int) -> None:
    x = torch.rand(3, 2, 7, 9, generator=torch.Generator().manual_seed(0))
    theirs = ndimage.median_filter(x.numpy(), size=(1, 1, size, size))
    assert torch.equal(transforms.median_filter(x, size), torch.from_numpy(theirs))


def test_bit_depth_has_two_to_the_bits_evenly_spaced_levels() -> None:
    x = torch.linspace(0, 1, 1001)
    for bits in (1, 2, 3, 8):
        levels = transforms.bit_depth(x, bits).unique()
        assert torch.allclose(levels, torch.linspace(0, 1, 2**bits))
        assert (transforms.bit_depth(x, bits) - x).abs().max() <= 0.5 / (2**bits - 1) + 1e-6


def test_a_straight_patch_covers_exactly_its_own_pixels() -> None:
    middle = placed([0.0, 0.0, 0.0, 1.0])
    assert torch.allclose(middle[3:6, 3:6], SQUARE[0], atol=1e-6)
    assert middle.sum().item() == pytest.approx(SQUARE.sum().item(), abs=1e-5)
    assert torch.allclose(placed([-1.0, -1.0, 0.0, 1.0])[:3, :3], SQUARE[0], atol=1e-6)
    assert torch.allclose(placed([1.0, -1.0, 0.0, 1.0])[:3, 6:], SQUARE[0], atol=1e-6)  # right, up


def test_a_quarter_turn_is_a_quarter_turn() -> None:
    turned = placed([0.0, 0.0, torch.pi / 2, 1.0])
    assert torch.allclose(turned[3:6, 3:6], torch.rot90(SQUARE[0], -1), atol=1e-5)


def test_a_turned_patch_stays_at_its_place() -> None:
    turned = placed([1.0, -1.0, torch.pi / 2, 1.0])
    assert torch.allclose(turned[:3, 6:], torch.rot90(SQUARE[0], -1), atol=1e-5)


def test_half_the_scale_is_a_quarter_of_the_area() -> None:
    patch = torch.ones(1, 8, 8)
    full, half = (placed([0.0, 0.0, 0.0, scale], patch, 16).sum() for scale in (1.0, 0.5))
    assert full.item() == pytest.approx(64, abs=1e-3)
    assert half.item() == pytest.approx(16, rel=0.1)


def test_an_empty_mask_leaves_the_image_alone() -> None:
    x = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    pose = transforms.poses(4, 30.0, 0.5, torch.Generator().manual_seed(0), x.device)
    assert torch.equal(transforms.paste(x, torch.ones(3, 3, 3), torch.zeros(3, 3), pose), x)


def test_the_gradient_of_paste_is_right() -> None:
    x = torch.rand(2, 2, 6, 5, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    pose = transforms.poses(2, 40.0, 0.7, torch.Generator().manual_seed(1), x.device).double()
    patch = torch.rand(2, 3, 3, dtype=torch.double, generator=torch.Generator().manual_seed(2))
    mask = torch.ones(3, 3, dtype=torch.double)
    assert torch.autograd.gradcheck(
        lambda p: transforms.paste(x, p, mask, pose), patch.requires_grad_()
    )


def test_poses_fill_their_ranges_and_nothing_more() -> None:
    pose = transforms.poses(4000, 20.0, 0.6, torch.Generator().manual_seed(0), torch.device("cpu"))
    angle = torch.pi / 9
    low, high = torch.tensor([-1, -1, -angle, 0.6]), torch.tensor([1, 1, angle, 1.0])
    assert ((pose >= low) & (pose <= high)).all()
    assert torch.allclose(pose.mean(0), (low + high) / 2, atol=0.05)
    assert (pose.amin(0) - low).max() < 0.01
    assert (high - pose.amax(0)).max() < 0.01
