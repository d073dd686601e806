"""Batches as rows."""

import pytest
import torch

from holdfast.ops.rows import batches


@pytest.mark.parametrize(
    ("rows", "sizes"), [(9, [4, 5]), (8, [4, 4]), (10, [4, 4, 2]), (1, [1]), (0, [0])]
)
def test_a_last_row_alone_joins_the_part_before_it(rows: int, sizes: list[int]) -> None:
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(0))
    parts = batches(order, 4)
    assert [len(part) for part in parts] == sizes
    assert torch.equal(torch.cat(parts), order)
