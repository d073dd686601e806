"""The adversarial patch against a model whose best patch is known."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError, NotApplicable
from holdfast.core.run import Run
from holdfast.core.space import Box
from holdfast.engine.universal import apply, craft
from holdfast.evasion.attacks.patch import AdversarialPatch, Patch
from holdfast.targets.torch import TorchClassifier

# a coarse chequerboard: shifted by any amount, bright corners fall outside of the patch
TEMPLATE = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 0, 1]]).repeat_interleave(2, 0)
TEMPLATE = TEMPLATE.repeat_interleave(2, 1)
STRAIGHT = AdversarialPatch(share=36 / 256, round=False, rotation=0.0, scale=1.0, views=0.0)


class Planted(nn.Module):
    """Class 1 where some 6 x 6 window comes near the template, by matched filter, else class 0."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, ones = TEMPLATE.to(x).view(1, 1, 6, 6), torch.ones(1, 1, 6, 6).to(x)
        match = 2 * torch.conv2d(x, weight) - torch.conv2d(x**2, ones) - TEMPLATE.sum()
        return torch.stack([torch.full((len(x),), -8.0).to(x), match.flatten(1).amax(1)], 1)


def scenes(count: int, size: int = 16, seed: int = 0) -> Dataset:
    """Faint noise, of class 0; the last is of class 1."""
    x = 0.1 * torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(seed))
    y = torch.zeros(count, dtype=torch.long)
    x[-1, 0, 4:10, 4:10], y[-1] = TEMPLATE, 1
    return Dataset("scenes", x, y, ("plain", "planted"))


def test_it_recovers_the_planted_template_and_always_works_on_other_images() -> None:
    target = TorchClassifier(Planted())
    made = craft(STRAIGHT, target, scenes(40), 1, Run())
    delta = made.delta.tensors()["delta"]
    pair = torch.stack([delta.flatten(), TEMPLATE.flatten()])
    assert torch.corrcoef(pair)[0, 1] > 0.9
    others = scenes(200, seed=1).tensor[:-1]
    noise = made.delta.refilled(torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(2)))
    assert (target.answer(others) == 0).all()
    assert (target.answer(apply(made.delta, others, target, Run())) == 1).all()
    assert (target.answer(apply(noise, others, target, Run())) == 1).float().mean() < 0.02
    assert (made.forwards, made.backwards) == (150 * 32, 150 * 32)


def test_its_step_follows_finite_differences_of_the_loss() -> None:
    data, target = scenes(40), TorchClassifier(Planted().double())
    data = data.with_rows(data.tensor.double(), data.y)
    method = replace(STRAIGHT, steps=1)
    delta = craft(method, target, data, 1, Run()).delta
    moved = (delta.delta - 0.5).sign()

    def gain(content: torch.Tensor) -> float:
        raw = target.scores(apply(delta.refilled(content), data.tensor, target, Run()))
        return float(raw.log_softmax(1)[:, 1].mean())

    base = torch.full((1, 6, 6), 0.5, dtype=torch.double)
    assert gain(base + 1e-3 * moved) > gain(base) > gain(base - 1e-3 * moved)


def test_a_round_patch_leaves_the_corners_alone_and_keeps_its_share() -> None:
    data = scenes(40, size=40)
    method = AdversarialPatch(share=0.1, rotation=0.0, scale=1.0, steps=1)
    delta = craft(method, TorchClassifier(Planted()), data, 1, Run()).delta
    mask = delta.tensors()["mask"]
    assert mask.shape == (13, 13)  # the square of 0.1 * 40 * 40 pixels
    assert mask[0, 0] == mask[-1, -1] == 0
    assert mask.mean().item() == pytest.approx(torch.pi / 4, abs=0.03)
    x = torch.full((50, 1, 40, 40), 0.123)
    share = (delta.refilled(torch.ones(1, 13, 13)).apply(x, torch.Generator()) != x).float().mean()
    assert share < 0.12


def test_tables_are_not_for_patches() -> None:
    table = Dataset("table", torch.rand(9, 4), torch.zeros(9, dtype=torch.long), ("a", "b"))
    with pytest.raises(NotApplicable, match="images"):
        craft(STRAIGHT, TorchClassifier(nn.Linear(4, 2)), table, 1, Run())


def test_a_colour_patch_on_grey_images_is_refused_in_one_line() -> None:
    colour = Patch(torch.rand(3, 2, 2), torch.ones(2, 2), 0.0, 1.0)
    with pytest.raises(InputError, match="3 channels"):
        colour.apply(torch.rand(2, 1, 8, 8), torch.Generator())


def test_away_from_ones_own_class_any_other_will_do() -> None:
    target = TorchClassifier(Planted())
    data = scenes(40)
    data = data.with_rows(data.tensor[:-1], data.y[:-1])
    made = craft(STRAIGHT, target, data, None, Run())
    assert (target.answer(apply(made.delta, data.tensor, target, Run())) == 1).all()


def test_images_without_bounds_are_refused_as_no_colour_could_be_mixed() -> None:
    target = TorchClassifier(Planted(), Box(-torch.inf, torch.inf))
    with pytest.raises(NotApplicable, match="bounds"):
        craft(STRAIGHT, target, scenes(8), 1, Run())
