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


def image(*shape: int, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=rng, dtype=torch.double)


def only(value: float, count: int = 1) -> torch.Tensor:
    return torch.full((count,), value, dtype=torch.double)


NOWHERE = torch.zeros(1, 2, dtype=torch.double)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_are_those_of_rot90(quarters: int) -> None:
    x = image(1, 2, 7, 7)
    turned = transforms.affine(x, only(quarters * torch.pi / 2), NOWHERE)
    assert torch.allclose(turned, torch.rot90(x, quarters, (2, 3)), atol=1e-9)


def test_a_shift_by_whole_pixels_moves_right_and_down() -> None:
    x = image(1, 1, 4, 8)
    moved = transforms.affine(x, only(0.0), torch.tensor([[2 / 8, 1 / 4]]).double())
    assert torch.allclose(moved[..., 1:, 2:], x[..., :-1, :-2], atol=1e-9)
    assert moved[..., 0, :].abs().max() < 1e-9
    border = transforms.affine(
        x, only(0.0), torch.tensor([[2 / 8, 1 / 4]]).double(), padding="border"
    )
    assert torch.allclose(border[..., 1:, 0], x[..., :-1, 0], atol=1e-9)


def test_turning_comes_before_moving() -> None:
    x = torch.zeros(1, 1, 5, 5, dtype=torch.double)
    x[..., 2, 4] = 1  # right end
    moved = transforms.affine(x, only(torch.pi / 2), torch.tensor([[1 / 5, 0.0]]).double())
    assert moved[0, 0, 0, 3].item() == pytest.approx(1)  # turned to the top, then moved right


def test_twice_the_scale_is_twice_as_wide() -> None:
    x = torch.zeros(1, 1, 8, 8, dtype=torch.double)
    x[..., 3:5, 3:5] = 1
    large = transforms.affine(x, only(0.0), NOWHERE, only(2.0))
    assert large.sum().item() == pytest.approx(16)


def test_slopes_of_affine_are_right_in_place_and_pixels() -> None:
    x, angle, shift = image(2, 1, 5, 6), image(2, seed=1), 0.1 * image(2, 2, seed=2)
    inputs = [v.requires_grad_() for v in (x, angle, shift, 1 + 0.1 * image(2, seed=3))]
    assert torch.autograd.gradcheck(transforms.affine, inputs)


def test_no_flow_is_the_image_and_a_flow_looks_where_it_points() -> None:
    x = image(2, 3, 5, 7)
    assert torch.allclose(transforms.flowed(x, torch.zeros(2, 2, 5, 7).double()), x, atol=1e-9)
    one = torch.zeros(2, 2, 5, 7).double()
    one[:, 0] = 1  # one to the right
    assert torch.allclose(transforms.flowed(x, one)[..., :-1], x[..., 1:], atol=1e-9)
    half = one.flip(1) / 2  # half a pixel down
    middle = (x[..., 1:, :] + x[..., :-1, :]) / 2
    assert torch.allclose(transforms.flowed(x, half)[..., :-1, :], middle, atol=1e-9)


def test_slopes_of_a_flow_are_right() -> None:
    x, flow = image(2, 2, 4, 5).requires_grad_(), 0.3 + 0.4 * image(2, 2, 4, 5, seed=1)
    assert torch.autograd.gradcheck(transforms.flowed, [x, flow.requires_grad_()])


def test_roughness_is_the_sum_over_neighbours_by_hand() -> None:
    flow = torch.zeros(1, 2, 2, 2)
    flow[0, 0, 0, 0], flow[0, 1, 0, 0] = 3.0, 4.0  # five away from each of two neighbours
    assert transforms.roughness(flow).item() == pytest.approx(2 * (5 + 5), abs=0.01)
    assert transforms.roughness(torch.full((1, 2, 4, 4), 2.0)).item() < 0.01
    rough = image(2, 2, 4, 5, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(transforms.roughness, rough)


def test_a_flat_sticker_is_a_pasted_one() -> None:
    x, patch = image(2, 2, 9, 9), image(2, 3, 5, seed=1)
    pose = torch.tensor([[1.0, -2.0, 0.0, 1.0]] * 2).double()
    flat = transforms.drape(x, patch, pose, only(0.0, 2), only(0.0, 2))
    assert torch.allclose(flat[:, :, 1:4, 3:8], patch.expand(2, -1, -1, -1), atol=1e-5)
    assert torch.allclose(flat[:, :, 4:], x[:, :, 4:], atol=1e-9)


def test_a_bent_sticker_keeps_its_length_along_the_parabola() -> None:
    """The part of the image it covers is as wide as the parabola of its length, by quadrature."""
    width, curve = 100, 1.17
    cover = transforms.drape(
        torch.zeros(1, 1, 20, 140).double(), torch.ones(1, 10, width).double(),
        torch.tensor([[0.0, 0.0, 0.0, 1.0]]).double(), only(curve), only(0.0),
    )  # fmt: skip
    seen = cover[0, 0, 10].sum().item()
    reach = torch.linspace(0, seen / 2, 10_001).double()
    slope = 2 * curve / width * reach
    length = torch.trapezoid((1 + slope.square()).sqrt(), reach).item()
    assert seen < 0.9 * width
    assert 2 * length == pytest.approx(width, rel=0.01)


def test_leaning_back_lowers_the_ends_and_shortens_the_height() -> None:
    patch, pose = torch.ones(1, 20, 60).double(), torch.tensor([[0.0, 0.0, 0.0, 1.0]]).double()
    blank = torch.zeros(1, 1, 60, 80).double()
    upright, leaning = (
        transforms.drape(blank, patch, pose, only(1.0), only(pitch))[0, 0]
        for pitch in (0.0, torch.pi / 6)
    )
    assert leaning[:, 40].sum().item() == pytest.approx(20 * 3**0.5 / 2, rel=0.05)

    def middle(column: torch.Tensor) -> float:
        return float((column * torch.arange(60)).sum() / column.sum())

    assert middle(upright[:, 20]) == pytest.approx(middle(upright[:, 40]), abs=0.1)
    # k u^2 sin(pitch) pixels lower, at u = 19.5 from the middle
    fall = 1 / 60 * 19.5**2 * 0.5
    assert middle(leaning[:, 20]) - middle(leaning[:, 40]) == pytest.approx(fall, abs=0.3)


def test_slopes_of_draping_are_right() -> None:
    x, patch = image(2, 1, 6, 7), image(1, 3, 4, seed=1).requires_grad_()
    pose = torch.tensor([[0.3, -0.4, 0.1, 1.1], [-0.2, 0.6, -0.2, 0.9]]).double()
    curve, pitch = 0.5 + image(2, seed=2), 0.3 * image(2, seed=3)
    inputs = [patch, *(v.requires_grad_() for v in (pose, curve, pitch))]
    assert torch.autograd.gradcheck(lambda *v: transforms.drape(x, *v), inputs)


def test_a_dot_is_one_in_its_centre_and_one_over_e_at_its_radius() -> None:
    alpha = transforms.dots((21, 21), torch.tensor([[0.5, 0.5]]), torch.tensor([5 / 21]), 2.0)[0]
    assert alpha[10, 10].item() == pytest.approx(1, abs=1e-5)
    assert alpha[10, 15].item() == pytest.approx(torch.tensor(-1.0).exp().item(), rel=1e-4)
    assert alpha[10, 0] < 1e-3
    right = transforms.dots((9, 9), torch.tensor([[0.9, 0.1]]), torch.tensor([0.1]), 2.0)[0]
    assert right.argmax().item() == 8  # right and up


def test_slopes_of_dots_are_right() -> None:
    centre, radius = image(2, 2).requires_grad_(), (0.2 + 0.2 * image(2, seed=1)).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda c, r: transforms.dots((5, 6), c, r, 1.5), [centre, radius]
    )
