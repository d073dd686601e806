"""Neural Cleanse on linear models whose smallest trigger is known, and its gradients."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from holdfast.backdoor.defences.neural_cleanse import NeuralCleanse, Trigger, anomaly
from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from tests.toys import LinearTarget


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def planted(classes: int = 6, side: int = 5) -> tuple[LinearTarget, Dataset]:
    """Class k sums its own 4 pixels; the last pixel, zero in all data, shouts for class 2."""
    weight = torch.zeros(side * side, classes)
    x = 0.1 * torch.rand(60, side * side, generator=rng(1))
    y = torch.arange(60) % classes
    for k in range(classes):
        weight[4 * k : 4 * k + 4, k] = 4.0
        x[y == k, 4 * k : 4 * k + 4] = 0.8
    x[:, -1] = 0
    weight[-1, 2] = 100.0
    data = Dataset("bars", x.view(60, 1, side, side), y, tuple("abcdef"[:classes]))
    return LinearTarget(weight, torch.zeros(classes)), data


def test_the_planted_class_and_its_one_pixel_are_found() -> None:
    target, data = planted()
    assert (target.answer(data.x) == data.y).all()
    got = NeuralCleanse().scan(target, data, rng())
    assert (got.index > got.limit).nonzero().flatten().tolist() == [2]
    mask = got.tensors["mask"][2, 0]
    assert mask.argmax() == 24
    assert mask.sum() < 1
    assert got.tensors["pattern"][2, 0, -1, -1] > 0.9


def test_every_mask_that_is_kept_works_on_other_classes() -> None:
    target, data = planted()
    got = NeuralCleanse().scan(target, data, rng())
    trigger = Trigger(got.tensors["mask"], got.tensors["pattern"])
    for k in range(6):
        others = data.x[data.y != k]
        stamped = trigger.stamp(others.expand(6, *others.shape))[k]
        assert (target.answer(stamped) == k).float().mean() >= 0.95


def test_a_model_without_a_planted_pixel_raises_no_alarm() -> None:
    target, data = planted()
    target.weight[-1] = 0
    got = NeuralCleanse().scan(target, data, rng())
    assert (got.index <= got.limit).all()


def test_rows_of_the_class_itself_do_not_count_as_success() -> None:
    """With 9 in 10 rows of class 0, an empty mask would succeed if they were not left out."""
    target, data = planted()
    rows = torch.cat([(data.y == 0).nonzero().flatten().repeat(30), torch.arange(60)])
    got = NeuralCleanse(success=0.8).scan(target, data.take(rows), rng())
    assert got.tensors["mask"][0].sum() > 1


def test_the_written_out_gradients_are_the_true_ones() -> None:
    target = LinearTarget.random(2 * 9, 3)
    images = torch.rand(3, 4, 2, 3, 3, generator=rng(2))
    mask = torch.rand(3, 1, 3, 3, generator=rng(3)).requires_grad_()
    pattern = torch.rand(3, 2, 3, 3, generator=rng(4)).requires_grad_()
    raw = target.scores(Trigger(mask, pattern).stamp(images).flatten(0, 1))
    wanted = torch.arange(3).repeat_interleave(4)
    loss = cross_entropy(raw, wanted, reduction="none").view(3, 4).mean(1).sum()
    expected = torch.autograd.grad(loss, (mask, pattern))
    got = Trigger(mask.detach(), pattern.detach()).gradient(target, images)
    torch.testing.assert_close(got[0], expected[0])
    torch.testing.assert_close(got[1], expected[1])


def test_only_unusually_small_masks_are_anomalous() -> None:
    """Median 10, MAD 1: index (10 - size) / 1.4826."""
    size = torch.tensor([9.0, 10.0, 11.0, 10.0, 2.0, 30.0, 11.0])
    expected = (10 - size) / 1.4826
    torch.testing.assert_close(anomaly(size), expected)
    assert anomaly(torch.full((5,), 7.0)).tolist() == [0.0] * 5


def test_tables_and_single_classes_cannot_be_scanned() -> None:
    target, data = planted()
    with pytest.raises(NotApplicable, match="images"):
        NeuralCleanse().scan(target, data.with_rows(data.x.flatten(1), data.y), rng())
    two = Dataset("two", data.x, data.y % 2, ("a", "b"))
    with pytest.raises(NotApplicable, match="three"):  # both lie equally far from their median
        NeuralCleanse().scan(target, two, rng())
    with pytest.raises(NotApplicable, match="two classes"):
        NeuralCleanse().scan(target, data.take((data.y == 1).nonzero().flatten()), rng())
