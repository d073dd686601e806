"""Printers, light and lenses against sums by hand, finite differences and plain statistics."""

import pytest
import torch
from torch.autograd import gradcheck

from holdfast.ops import physical
from holdfast.ops.physical import Views


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=rng, dtype=torch.double)


def test_total_variation_is_the_sum_by_hand() -> None:
    x = torch.tensor([[[[0.0, 3.0], [4.0, 0.0]]]])
    # (0,0): steps of 4 down and 3 right make 5; (0,1): 3 down; (1,0): 4 right; (1,1): none
    assert physical.total_variation(x).item() == pytest.approx(12.0, abs=1e-5)
    assert physical.total_variation(torch.full((2, 3, 4, 4), 0.3)).tolist() == [0.0, 0.0]


def test_only_steps_inside_of_the_mask_count() -> None:
    x = torch.tensor([[[[0.0, 1.0, 9.0], [0.0, 1.0, -9.0]]]])
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
    assert physical.total_variation(x, mask).item() == pytest.approx(2.0, abs=1e-5)


def test_the_score_is_zero_on_printable_colours_and_the_product_of_distances_elsewhere() -> None:
    colours = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    x = torch.tensor([0.25, 0.0, 0.0]).view(1, 3, 1, 1)
    by_hand = (0.25 / physical.UNIT) * (0.75 / physical.UNIT)
    assert physical.non_printability(x, colours).item() == pytest.approx(by_hand, rel=1e-4)
    printable = colours.T.reshape(1, 3, 1, 2)
    assert physical.non_printability(printable, colours).item() < 1e-4
    assert physical.non_printability(x, colours, torch.zeros(1, 1)).item() == 0


def test_the_distance_to_the_nearest_colour_is_that_by_hand() -> None:
    colours = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    x = torch.tensor([[0.75, 0.0, 0.0], [0.0, 0.3, 0.4]]).T.reshape(1, 3, 1, 2)
    assert physical.unprintable(x, colours).item() == pytest.approx(0.25 + 0.5, abs=1e-5)
    left = torch.tensor([[1.0, 0.0]])
    assert physical.unprintable(x, colours, left).item() == pytest.approx(0.25, abs=1e-5)


def test_a_palette_has_every_combination_of_its_levels() -> None:
    colours = physical.palette(3, 3, 0.1, 0.9)
    assert colours.shape == (27, 3)
    assert len({tuple(row) for row in colours.tolist()}) == 27
    assert torch.allclose(colours.unique(), torch.tensor([0.1, 0.5, 0.9]))
    assert physical.palette(1, 1, 0.0, 1.0).tolist() == [[0.5]]


def test_slopes_of_both_penalties_are_right_and_finite_on_flat_colour() -> None:
    x = random(2, 2, 3, 4).requires_grad_()
    colours = physical.palette(2, 2, 0.0, 1.0)
    mask = (random(3, 4, seed=1) > 0.3).double()
    assert gradcheck(lambda v: physical.total_variation(v, mask), x)
    assert gradcheck(lambda v: physical.non_printability(v, colours, mask), x)
    assert gradcheck(lambda v: physical.unprintable(v, colours, mask), x)
    flat = torch.zeros(1, 1, 3, 3, requires_grad=True)
    score = physical.total_variation(flat) + physical.non_printability(flat, torch.zeros(1, 1))
    (slope,) = torch.autograd.grad(score.sum(), flat)
    assert slope.isfinite().all()


def test_views_of_no_strength_are_the_image_itself() -> None:
    x = random(3, 1, 8, 8)
    assert torch.equal(Views().times(0).see(x, torch.Generator()), x)


def test_views_stay_in_the_range_differ_and_repeat() -> None:
    x = torch.full((200, 1, 8, 8), 0.95)
    seen = Views().see(x, torch.Generator().manual_seed(0))
    assert (seen >= 0).all()
    assert (seen <= 1).all()
    assert seen.mean((1, 2, 3)).std() > 0.01
    assert torch.equal(seen, Views().see(x, torch.Generator().manual_seed(0)))


def test_brightness_and_contrast_reach_their_bounds_and_not_beyond() -> None:
    still = dict.fromkeys(("rotation", "shift", "scale", "blur", "noise"), 0.0)
    x = torch.linspace(0.4, 0.6, 64).view(1, 1, 8, 8).expand(2000, 1, 8, 8)
    lit = Views(**still, brightness=0.1, contrast=0.0).see(x, torch.Generator().manual_seed(0))
    change = (lit - x).flatten(1).mean(1)
    assert 0.099 < change.abs().max() < 0.1001
    assert change.mean().abs() < 0.01
    flat = Views(**still, brightness=0.0, contrast=0.2).see(x, torch.Generator().manual_seed(0))
    ratio = flat.flatten(1).std(1) / x.flatten(1).std(1)
    assert 1.19 < ratio.max() < 1.2001
    assert 0.7999 < ratio.min() < 0.81


def test_blur_keeps_the_mean_and_spreads_a_point_evenly() -> None:
    x = torch.zeros(1, 1, 9, 9)
    x[..., 4, 4] = 1
    seen = physical._blurred(x, torch.full((1, 1, 1, 1), 0.6))
    assert seen.sum().item() == pytest.approx(1.0, abs=1e-6)
    assert torch.allclose(seen, seen.flip(2), atol=1e-7)
    assert torch.allclose(seen, seen.transpose(2, 3), atol=1e-7)
    side = torch.tensor(-0.5 / 0.36).exp()
    assert (seen[0, 0, 4, 3] / seen[0, 0, 4, 4]).item() == pytest.approx(side.item(), rel=1e-4)


def test_the_slope_of_a_view_is_right_and_survives_the_ends_of_the_range() -> None:
    x = (0.4 + 0.2 * random(2, 1, 5, 6)).requires_grad_()
    view = Views(brightness=0.05, noise=0.01)
    assert gradcheck(lambda v: view.see(v, torch.Generator().manual_seed(3)), x, atol=1e-4)
    white = torch.ones(1, 1, 4, 4, requires_grad=True)
    (slope,) = torch.autograd.grad(
        Views().see(white, torch.Generator().manual_seed(0)).sum(), white
    )
    assert slope.sum() > 5
