"""Random streams by key."""

import torch

from holdfast.core.run import Run


def test_an_order_is_a_permutation_of_its_own_for_every_key_and_seed() -> None:
    one = Run(seed=1).order(50, "pool")
    assert one.sort().values.tolist() == list(range(50))
    assert torch.equal(one, Run(seed=1).order(50, "pool"))
    assert not torch.equal(one, Run(seed=1).order(50, "rest"))
    assert not torch.equal(one, Run(seed=2).order(50, "pool"))


def test_rows_are_ordered_in_the_same_way_on_every_device() -> None:
    there = Run(device=torch.device("meta"))
    assert torch.equal(there.order(9, "rows"), Run().order(9, "rows"))
    assert there.generator("rows", device="cpu").device.type == "cpu"
