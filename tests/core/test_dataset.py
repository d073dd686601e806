"""Data that cannot be used is refused where it enters."""

import pytest
import torch

from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError

X, Y, CLASSES = torch.rand(4, 2), torch.tensor([0, 1, 0, 1]), ("no", "yes")


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (X, Y[:3], "4 rows and 3 labels"),
        (torch.tensor([[0.0, 1.0], [0.0, torch.nan]]), Y[:2], "row 1"),
        (torch.tensor([[0.0, torch.inf]]), Y[:1], "row 0"),
        (X, Y + 1, "0 to 1"),
        (X, Y - 1, "0 to 1"),
    ],
)
def test_wrong_data_is_one_clear_error(x: torch.Tensor, y: torch.Tensor, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Dataset("wrong", x, y, CLASSES)


def test_the_digest_tells_sets_apart() -> None:
    whole = Dataset("a", X, Y, CLASSES)
    assert whole.digest == Dataset("another name", X.clone(), Y.clone(), CLASSES).digest
    changed = X.clone()
    changed[3, 1] += 1e-6
    others = [
        Dataset("a", changed, Y, CLASSES),
        Dataset("a", X, Y.flip(0), CLASSES),
        Dataset("a", X.view(4, 2, 1), Y, CLASSES),
        Dataset("a", X, Y, CLASSES, groups={"sex": Y}),
        whole.take(torch.tensor([1, 0, 2, 3])),
    ]
    assert len({each.digest for each in others} | {whole.digest}) == 6


def test_taking_rows_keeps_groups_with_their_rows() -> None:
    whole = Dataset("a", X, Y, CLASSES, groups={"sex": torch.tensor([5, 6, 7, 8])})
    part = whole.take(torch.tensor([3, 0]))
    assert part.groups["sex"].tolist() == [8, 5]
    assert torch.equal(part.tensor, X[[3, 0]])
    assert len(whole.first(9)) == 4
