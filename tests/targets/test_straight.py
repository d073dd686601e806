"""Layers without a gradient are found and passed straight through; everything else is left alone."""

import torch
from torch import nn

from holdfast.core.target import Gradients
from holdfast.ops.losses import margin
from holdfast.targets.straight import Straightened, straightened
from holdfast.targets.torch import TorchClassifier

X = torch.rand(5, 6, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 0, 1])


def linear() -> nn.Linear:
    layer = nn.Linear(6, 3)
    nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(1))
    return layer


class Rounded(nn.Module):
    def forward(self, x):
        return (4 * x).round() / 4


class Cut(nn.Module):
    def forward(self, x):
        return torch.from_numpy(2 - x.detach().numpy())


class Inline(nn.Module):
    """Changes inputs in its own forward, in no layer that could be hooked."""

    def __init__(self) -> None:
        super().__init__()
        self.net = linear()

    def forward(self, x):
        return self.net((4 * x.detach()).round() / 4)


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside = Rounded()

    def forward(self, x):
        return self.inside(x).detach()


def slope(target, x=X):
    return target.gradient(x, lambda raw: margin(raw, Y[: len(x)])).wrt_input


def test_a_rounding_and_a_cutting_layer_are_found_and_count_as_the_identity() -> None:
    net = linear()
    target = TorchClassifier(nn.Sequential(Rounded(), nn.Identity(), Cut(), net))
    mended = straightened(target, X)
    assert mended is not None
    assert mended.layers == ("0", "2")
    assert isinstance(mended, Gradients)
    assert torch.equal(mended.answer(X), target.answer(X))
    shown = 2 - (4 * X).round() / 4
    assert torch.allclose(slope(mended), slope(TorchClassifier(net), shown))
    assert torch.equal(mended.gradient(X, lambda raw: raw.sum(1)).raw, target.scores(X))


def test_a_change_in_the_models_own_forward_is_passed_where_the_first_layer_is_entered() -> None:
    target = TorchClassifier(Inline())
    mended = straightened(target, X)
    assert mended == Straightened(target, (), ("net",)) or mended.entries == ("net",)
    net = TorchClassifier(target.module.net)
    assert torch.allclose(slope(mended), slope(net, (4 * X).round() / 4))


def test_a_blocking_layer_around_a_blocking_layer_is_found_in_the_next_round() -> None:
    net = linear()
    mended = straightened(TorchClassifier(nn.Sequential(Nested(), net)), X)
    assert mended.layers == ("0.inside", "0")
    assert torch.allclose(slope(mended), slope(TorchClassifier(net), (4 * X).round() / 4))


def test_ordinary_layers_are_left_alone_and_no_hook_stays() -> None:
    module = nn.Sequential(
        nn.Linear(6, 6), nn.ReLU(), nn.Dropout(), nn.Softplus(), nn.BatchNorm1d(6), linear()
    )
    assert straightened(TorchClassifier(module), X) is None
    cut = nn.Sequential(Cut(), linear())
    slope(straightened(TorchClassifier(cut), X))
    for part in (*module.modules(), *cut.modules()):
        assert not part._forward_hooks
        assert not part._forward_pre_hooks
