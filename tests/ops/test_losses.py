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


def test_with_three_classes_the_third_stands_for_both() -> None:
    three = SCORES[:, :3]
    told = losses.targeted_dlr(three, LABELS, torch.tensor([1, 1]))
    assert torch.allclose(told, torch.tensor([-2 / 4, 2 / 4]))


def test_rivals_are_sorted_and_never_the_label() -> None:
    assert losses.rivals(SCORES, LABELS, 3).tolist() == [[1, 2, 3], [2, 4, 1]]
    assert losses.rivals(SCORES[:, :2], LABELS, 9).tolist() == [[1], [1]]
