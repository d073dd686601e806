"""Properties that hold for every universal attack in the catalogue."""

import pickle

import pytest
import torch
from torch import nn

from holdfast import catalogue
from holdfast.core.dataset import Dataset
from holdfast.core.method import REGISTRY
from holdfast.core.run import Run
from holdfast.engine.universal import apply, craft
from holdfast.targets.torch import TorchClassifier

catalogue.load_all()
ATTACKS = [e for e in REGISTRY.values() if e.kind == "UniversalAttack" and e.needs != "Features"]
EACH = pytest.mark.parametrize("entry", ATTACKS, ids=lambda e: e.id)
CHANNELS = pytest.mark.parametrize("channels", [1, 3])


def quick(entry):
    """The method with few steps."""
    return entry.cls(
        **{k: v for k, v in {"steps": 3, "dots": 1}.items() if k in entry.cls().params}
    )


def case(channels: int = 1, outputs: int = 3) -> tuple[TorchClassifier, Dataset]:
    """A net with dropout, in training mode, and images of as many classes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(channels * 64, 8), nn.ReLU(), nn.Dropout())
        net.append(nn.Linear(8, outputs))
    x = torch.rand(20, channels, 8, 8, generator=torch.Generator().manual_seed(0))
    y = torch.arange(20) % max(2, outputs)
    return TorchClassifier(net.train()), Dataset("noise", x, y, ("a", "b", "c")[: max(2, outputs)])


@EACH
@CHANNELS
@pytest.mark.parametrize("wanted", [None, 1])
def test_a_change_is_valid_of_the_images_channels_and_repeats_itself(
    entry, channels, wanted
) -> None:
    target, data = case(channels)
    before = data.tensor.clone()
    first, again = (craft(quick(entry), target, data, wanted, Run()).delta for _ in range(2))
    assert torch.equal(first.tensors()["delta"], again.tensors()["delta"])
    for physical in {"", entry.cls.physical}:
        moved = apply(first, data.tensor, target, Run(), physical)
        assert moved.shape == data.tensor.shape
        assert target.space.contains(moved).all()
        assert torch.equal(moved, apply(again, data.tensor, target, Run(), physical))
        assert not torch.equal(moved, before)
    assert torch.equal(data.tensor, before)


@EACH
def test_other_content_of_the_same_shape_gives_another_change(entry) -> None:
    target, data = case()
    delta = craft(quick(entry), target, data, 1, Run()).delta
    content = torch.rand(delta.tensors()["delta"].shape, generator=torch.Generator().manual_seed(1))
    other = delta.refilled(content)
    assert torch.equal(other.tensors()["delta"], content)
    moved = [apply(each, data.tensor, target, Run()) for each in (delta, other)]
    assert not torch.equal(*moved)


@EACH
@pytest.mark.parametrize("limit", [0, 1, 9])
def test_never_spends_more_than_its_allowance(entry, limit) -> None:
    target, data = case()
    made = craft(quick(entry), target, data, 1, Run(queries=limit))
    assert made.forwards + made.backwards <= 20 * limit


@EACH
@pytest.mark.parametrize("outputs", [1, 3])
def test_leaves_a_module_as_it_was(entry, outputs) -> None:
    target, data = case(outputs=outputs)
    module, state = target.module, torch.random.get_rng_state()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    craft(quick(entry), target, data, 1, Run())
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert module.training
    assert all(p.grad is None and p.requires_grad for p in module.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)


@EACH
def test_pickles(entry) -> None:
    assert pickle.loads(pickle.dumps(entry.cls())) == entry.cls()
