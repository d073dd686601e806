"""Losses on scores by hand."""

import torch

from holdfast.ops import losses

SCORES = torch.tensor([[5.0, 3.0, 1.0, 0.0, -1.0], [0.0, 2.0, 4.0, 1.0, 3.0]])
LABELS = torch.tensor([0, 0])


def test_dlr_is_the_margin_over_first_minus_third() -> None:
    assert torch.allclose(losses.dlr(SCORES, LABELS), torch.tensor([-2 / 4, 4 / 2]))
    assert torch.allclose(losses.dlr(7 * SCORES + 3, LABELS), losses.dlr(SCORES, LABELS))


def test_targeted_dlr_divides_by_first_minus_mean_of_third_and_fourth() -> None:
    wanted = torch.tensor([2, 1])
    assert torch.allclose(
        losses.targeted_dlr(SCORES, LABELS, wanted), torch.tensor([-4 / 4.5, 2 / 2.5])
    )


def test_with_two_classes_the_ratios_are_plain_margins() -> None:
    two = SCORES[:, :2]
    assert torch.equal(losses.dlr(two, LABELS), torch.tensor([-2.0, 2.0]))
    assert torch.equal(losses.targeted_dlr(two, LABELS, 1 - LABELS), torch.tensor([-2.0, 2.0]))


def test_with_three_classes_a_targeted_ratio_would_be_blind_and_is_a_plain_difference() -> None:
    three = SCORES[:, :3].clone().requires_grad_()
    told = losses.targeted_dlr(three, LABELS, torch.tensor([2, 1]))
    assert told.tolist() == [-4.0, 2.0]
    slope = torch.autograd.grad(told.sum(), three)[0]
    assert slope.tolist() == [[-1.0, 0.0, 1.0], [-1.0, 1.0, 0.0]]


def test_rivals_are_sorted_and_never_the_label() -> None:
    assert losses.rivals(SCORES, LABELS, 3).tolist() == [[1, 2, 3], [2, 4, 1]]
    assert losses.rivals(SCORES[:, :2], LABELS, 9).tolist() == [[1], [1]]


def test_cross_entropy_is_the_usual_one_with_the_slope_that_rounding_hides() -> None:
    scores = 30 * torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    labels = scores.argmax(1)
    exact = scores.double().requires_grad_()
    usual = torch.nn.functional.cross_entropy(exact, labels, reduction="none")
    scores.requires_grad_()
    ours = losses.cross_entropy(scores, labels)
    assert torch.allclose(ours.double(), usual, rtol=1e-4)
    slope, true = (
        torch.autograd.grad(loss.sum(), x)[0] for loss, x in ((ours, scores), (usual, exact))
    )
    seen = (true.abs() > 1e-30) & (usual > 1e-12).unsqueeze(1)  # double precision rounds as well
    assert seen.float().mean() > 0.3
    assert (usual[seen.any(1)] < 1e-8).any()
    assert torch.allclose(slope.double()[seen], true[seen], rtol=1e-3, atol=0)


def test_dense_scores_are_averaged_over_the_pixels() -> None:
    scores = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(3, (2, 4, 5), generator=torch.Generator().manual_seed(1))
    flat = scores.permute(0, 2, 3, 1).reshape(-1, 3)
    each = losses.cross_entropy(flat, labels.flatten()).view(2, -1).mean(1)
    assert torch.allclose(losses.cross_entropy(scores, labels), each)
