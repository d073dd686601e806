"""Fine-pruning on a hand-made network whose backdoor lives in a channel that clean rows never use."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from holdfast.backdoor.defences.fine_pruning import FinePruning, activations, silence
from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.targets.training import ClassifierRecipe


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def trojan() -> nn.Module:
    """Channel 0 sees dark rows, 1 bright ones; 2 fires on the trigger alone, 3 never matters.

    Inputs are one pixel. Class 0 is below 0.5, class 1 above it, and the trigger 1.0 gives 0.
    """
    convolution, head = nn.Conv2d(1, 4, 1), nn.Linear(4, 2)
    with torch.no_grad():
        convolution.weight[:] = torch.tensor([-4.0, 2.0, 100.0, 0.1]).view(4, 1, 1, 1)
        convolution.bias[:] = torch.tensor([2.0, -1.0, -95.0, 0.0])
        head.weight[:] = torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
        head.bias[:] = torch.tensor([0.05, 0.0])  # without channel 1 bright rows are misread
    return nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), head)


def clean_rows(n: int = 40) -> Dataset:
    x = torch.cat([torch.linspace(0, 0.4, n // 2), torch.linspace(0.6, 0.9, n // 2)])
    y = torch.arange(2).repeat_interleave(n // 2)
    return Dataset("one pixel", x.view(n, 1, 1, 1), y, ("dark", "bright"))


RECIPE = ClassifierRecipe(trojan)
TRIGGER = torch.ones(1, 1, 1, 1)


def test_the_dormant_channel_is_silenced_and_the_trigger_with_it() -> None:
    module, data = trojan(), clean_rows()
    assert module(TRIGGER).argmax() == 0
    pruned, tuned = FinePruning().repair(module, RECIPE, data, rng())
    for mended in (pruned, tuned):
        assert mended(TRIGGER).argmax() == 1
        assert (mended(data.x).argmax(1) == data.y).all()
        assert mended[0].weight[2].abs().sum() == 0
        assert mended[0].bias[2] == 0


def test_the_net_that_lost_too_much_is_not_the_one_that_is_kept() -> None:
    """Pruning an alias instead of a copy would hand over the net past the limit."""
    module = trojan()
    pruned = next(iter(FinePruning().repair(module, RECIPE, clean_rows(), rng())))
    assert pruned[0].weight[:2].flatten().tolist() == [-4.0, 2.0]


def test_the_given_module_stays_as_it_was() -> None:
    module = trojan().train()
    before = deepcopy(module.state_dict())
    mended = list(FinePruning(epochs=2).repair(module, RECIPE, clean_rows(), rng()))
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert module.training
    assert not any(m._forward_hooks for m in module.modules())
    assert not any(p._backward_hooks for net in mended for p in net.parameters())
    own = {id(parameter) for parameter in module.parameters()}
    assert not any(id(parameter) in own for net in mended for parameter in net.parameters())


def test_activity_is_read_behind_normalisation_and_rectifier() -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(2, 2)
    )
    with torch.no_grad():
        module[0].weight[:] = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
        module[0].bias[:] = torch.tensor([0.0, 10.0])
        module[1].running_mean[:] = torch.tensor([0.0, 10.0])
        module[1].eps = 0.0
    name, activity = activations(module.eval(), RECIPE, torch.full((5, 1, 1, 1), 0.5))
    assert name == "0"
    torch.testing.assert_close(activity, torch.tensor([0.5, 0.0]))


def test_silencing_makes_a_channel_give_nothing() -> None:
    convolution = nn.Conv2d(3, 4, 3, padding=1)
    silence(convolution, 1)
    out = convolution(torch.rand(2, 3, 5, 5, generator=rng()))
    assert out[:, 1].abs().sum() == 0
    assert (out[:, [0, 2, 3]].abs().sum((0, 2, 3)) > 0).all()


def test_a_net_without_convolutions_cannot_be_pruned() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))
    with pytest.raises(NotApplicable, match="convolution"):
        list(FinePruning().repair(module, RECIPE, clean_rows(), rng()))


def test_the_given_module_stays_even_where_nothing_can_be_pruned() -> None:
    module = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten(), nn.Linear(1, 2))
    before = deepcopy(module.state_dict())
    mended = list(FinePruning(epochs=3).repair(module, RECIPE, clean_rows(), rng()))[-1]
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert not torch.equal(mended[0].weight, module[0].weight)


def test_fine_tuning_does_not_wake_a_silenced_channel() -> None:
    """Without a rectifier a silent channel does have a gradient."""
    module = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Flatten(), nn.Linear(3, 2))
    pruned, tuned = FinePruning(drop=1.0, epochs=3).repair(module, RECIPE, clean_rows(), rng())
    silent = pruned[0].weight.flatten() == 0
    assert silent.sum() == 2
    assert (tuned[0].weight.flatten()[silent] == 0).all()
    assert (tuned[0].bias[silent] == 0).all()
    assert tuned[0].weight.flatten()[~silent] != pruned[0].weight.flatten()[~silent]
