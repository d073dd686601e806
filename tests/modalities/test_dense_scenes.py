"""Dense outputs: the unchanged PGD with the goal Pixels on segmenters."""

import pytest
import torch
from torch import nn

from holdfast.core.dataset import Dataset
from holdfast.core.goal import Pixels
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.data.idx import open_idx
from holdfast.data.scenes import compose, mean_iou
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.pgd import PGD
from holdfast.targets.torch import TorchClassifier
from tests.modalities.nets import train_segmenter

EPS = 32 / 255


class Threshold(nn.Module):
    """Class 1 exactly where a pixel is above one half: scores (0, 8 (x - 1/2))."""

    def forward(self, x):
        return torch.cat([torch.zeros_like(x), 8 * (x - 0.5)], 1)


@pytest.mark.parametrize("eps", [0.02, 0.1, 0.3])
def test_pgd_turns_exactly_the_pixels_whose_boundary_is_in_reach(eps) -> None:
    target = TorchClassifier(Threshold())
    x = torch.rand(5, 1, 6, 7, generator=torch.Generator().manual_seed(0))
    goal = Pixels(target.answer(x))
    got = attack(PGD(steps=20), target, x, goal, Budget("linf", eps), Run())
    reachable = ((x - 0.5).abs() < eps).squeeze(1)
    assert torch.equal(target.answer(got.x) != goal.labels, reachable)
    torch.testing.assert_close(got.degree, reachable.float().flatten(1).mean(1))


@pytest.mark.parametrize("void", [-1, 255])
def test_void_pixels_are_worth_nothing_whatever_their_number_is(void) -> None:
    raw = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.randint(3, (2, 4, 4), generator=torch.Generator().manual_seed(1))
    labels[:, :2] = void
    goal = Pixels(labels, void=void)
    (grad,) = torch.autograd.grad(goal.loss(raw).sum(), raw)
    assert (grad[:, :, :2] == 0).all()
    assert (grad[:, :, 2:] != 0).all()
    expected = nn.functional.cross_entropy(raw[:, :, 2:], labels[:, 2:], reduction="none")
    torch.testing.assert_close(goal.loss(raw), expected.flatten(1).mean(1))
    wrong = (raw.argmax(1) != labels)[:, 2:].flatten(1).float().mean(1)
    torch.testing.assert_close(goal.degree(raw.argmax(1)), wrong)


def test_mean_iou_is_intersection_over_union_of_the_classes_that_are_there() -> None:
    truth = torch.tensor([[0, 0, 1, 1, 9]])
    said = torch.tensor([[0, 1, 1, 1, 0]])
    # class 0: 1 of 2 (the void pixel does not count), class 1: 2 of 3
    assert mean_iou(said, truth, classes=3, void=9) == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_a_composed_scene_shows_what_its_map_says() -> None:
    square = Dataset("squares", torch.ones(1, 1, 8, 8), torch.tensor([3]), tuple("0123456789"))
    scenes = compose(square, 20, 24, seed=0, most=1, height=(10, 12))
    area = (scenes.y > 0).flatten(1).sum(1)
    assert set(scenes.y.unique().tolist()) == {0, 4}
    assert set(area.tolist()) <= {100, 121, 144}
    inside, outside = scenes.x[:, 0][scenes.y > 0], scenes.x[:, 0][scenes.y == 0]
    assert inside.min() >= 0.75 > 0.4 >= outside.max()
    again = compose(square, 20, 24, seed=0, most=1, height=(10, 12))
    assert scenes.digest == again.digest


def figures(net, scenes) -> dict[str, float]:
    """Mean IoU of clean, attacked and noisy scenes; the noise has the attack's size and box."""
    target, budget = TorchClassifier(net), Budget("linf", EPS)
    got = attack(PGD(steps=10), target, scenes.tensor, Pixels(scenes.y), budget, Run())
    noise = target.space.random(scenes.tensor, budget, Run().generator("control"))
    inputs = {"clean": scenes.tensor, "attack": got.x, "noise": noise}
    assert (got.distance <= EPS * (1 + 1e-4)).all()
    return {k: mean_iou(target.answer(x), scenes.y, 11) for k, x in inputs.items()}


def test_pgd_blinds_a_segmenter_of_embedded_digits_and_noise_does_not(digits) -> None:
    train, test = digits
    scenes = compose(train, 1000, 24, seed=1, most=1)
    held_out = compose(test, 60, 24, seed=2, most=1)
    found = figures(train_segmenter(scenes, epochs=8, batch=16), held_out)
    assert found["clean"] > 0.7  # the victim is worth attacking
    assert found["noise"] > found["clean"] - 0.1
    assert found["attack"] < found["noise"] - 0.35


@pytest.mark.data
def test_pgd_blinds_a_segmenter_of_mnist_scenes_and_noise_does_not(shared_data) -> None:
    digits = open_idx(shared_data / "mnist", seed=0)
    scenes = compose(digits.train, 1500, 28, seed=1, most=1, height=(18, 24))
    held_out = compose(digits.test, 100, 28, seed=2, most=1, height=(18, 24))
    found = figures(train_segmenter(scenes, epochs=6, width=12, batch=16), held_out)
    assert found["clean"] > 0.7  # the victim is worth attacking
    assert found["noise"] > found["clean"] - 0.1
    assert found["attack"] < found["noise"] - 0.35
