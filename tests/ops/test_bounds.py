"""Interval bounds: exact for one affine layer, never wrong for many."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from holdfast.ops.bounds import UnknownLayer, largest, layers, margins, propagate, step


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Weights and running statistics of both signs, in double precision."""
    rng = seeded(seed)
    for value in module.double().state_dict().values():
        if value.is_floating_point():
            value.normal_(generator=rng)
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.running_var.abs_()
    return module.eval().requires_grad_(False)


def corners(low: Tensor, high: Tensor) -> Tensor:
    """All 2^D corners of one box (D,)."""
    picks = torch.tensor(list(itertools.product([False, True], repeat=low.numel())))
    return torch.where(picks, high.flatten(), low.flatten()).view(-1, *low.shape)


AFFINE = {
    "linear": (nn.Linear(6, 4), (6,)),
    "without bias": (nn.Linear(6, 4, bias=False), (6,)),
    "conv2d": (nn.Conv2d(1, 2, 2, stride=2, padding=1), (1, 3, 3)),
    "grouped, dilated": (nn.Conv2d(2, 2, 2, groups=2, dilation=2), (2, 3, 3)),
    "conv1d": (nn.Conv1d(2, 3, 2), (2, 4)),
    "batch norm": (nn.BatchNorm2d(2), (2, 2, 2)),
    "batch norm of columns": (nn.BatchNorm1d(6), (6,)),
    "mean": (nn.AvgPool2d(2), (1, 2, 4)),
}
RISING = {
    "relu": nn.ReLU(),
    "leaky": nn.LeakyReLU(0.2),
    "sigmoid": nn.Sigmoid(),
    "tanh": nn.Tanh(),
    "elu": nn.ELU(),
    "max pool": nn.Sequential(nn.Unflatten(1, (1, 2, 4)), nn.MaxPool2d(2)),
    "flatten": nn.Flatten(),
    "dropout": nn.Dropout(),
}


@pytest.mark.parametrize("name", AFFINE)
def test_bounds_of_one_affine_layer_are_what_its_corners_give(name: str) -> None:
    layer, shape = AFFINE[name]
    randomise(layer)
    low = torch.randn(shape, generator=seeded(1), dtype=torch.double)
    free = torch.zeros(low.numel(), dtype=torch.double)
    free[torch.randperm(low.numel(), generator=seeded(2))[:8]] = 1  # 2^8 corners are enough
    high = low + (free * torch.rand(low.numel(), generator=seeded(3), dtype=torch.double)).view(
        shape
    )
    picks = torch.tensor(list(itertools.product([0.0, 1.0], repeat=int(free.sum()))))
    where = torch.zeros(len(picks), low.numel(), dtype=torch.double)
    where[:, free.bool()] = picks.double()
    inputs = low + where.view(-1, *shape) * (high - low)
    exact = layer(inputs)
    got_low, got_high = step(layer, low[None], high[None])
    assert torch.allclose(got_low[0], exact.amin(0), atol=1e-9)
    assert torch.allclose(got_high[0], exact.amax(0), atol=1e-9)


@pytest.mark.parametrize("name", RISING)
def test_rising_layers_are_bounded_by_their_ends(name: str) -> None:
    layer = RISING[name].eval()
    low = torch.randn(1, 8, generator=seeded(4), dtype=torch.double)
    high = low + 1
    got_low, got_high = propagate(layers(layer) or [layer], low, high)
    inside = layer(low + torch.rand(500, 8, generator=seeded(5), dtype=torch.double))
    assert torch.equal(got_low, layer(low))
    assert torch.equal(got_high, layer(high))
    assert (inside >= got_low).all()
    assert (inside <= got_high).all()


def test_repeated_edges_are_bounded_soundly() -> None:
    layer = randomise(nn.Conv2d(1, 2, 3, padding=1, padding_mode="replicate"))
    low = torch.randn(1, 1, 3, 3, generator=seeded(1), dtype=torch.double)
    got_low, got_high = step(layer, low, low + 1)
    inputs = corners(low[0], low[0] + 1)
    assert (layer(inputs) >= got_low - 1e-9).all()
    assert (layer(inputs) <= got_high + 1e-9).all()


def test_no_input_leaves_the_bounds_of_a_deep_network() -> None:
    net = randomise(
        nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.LeakyReLU(), nn.MaxPool2d(2),
            nn.Sequential(nn.Flatten(), nn.Linear(27, 8), nn.Tanh()), nn.Linear(8, 4),
        )
    )  # fmt: skip
    low = torch.rand(3, 1, 6, 6, generator=seeded(0), dtype=torch.double)
    high = low + 0.1
    got_low, got_high = propagate(layers(net), low, high)
    labels = torch.tensor([0, 3, 1])
    margin = margins(layers(net), low, high, labels)
    for seed in range(20):
        share = torch.rand(100, 3, 1, 6, 6, generator=seeded(seed), dtype=torch.double)
        share = share.round() if seed % 2 else share
        out = net((low + share * (high - low)).flatten(0, 1)).view(100, 3, 4)
        assert (out >= got_low - 1e-9).all()
        assert (out <= got_high + 1e-9).all()
        own = out.gather(2, labels.view(1, 3, 1).expand(100, 3, 1))
        gap = own - out.scatter(2, labels.view(1, 3, 1).expand(100, 3, 1), -torch.inf)
        assert (gap.amin(2) >= margin - 1e-9).all()


def test_the_margin_of_a_linear_model_is_exact_and_that_of_two_bounds_is_not() -> None:
    model = randomise(nn.Sequential(nn.Linear(6, 3)))
    low = torch.randn(1, 6, generator=seeded(1), dtype=torch.double)
    high = low + 0.3
    scores = model(corners(low[0], high[0]))
    label = torch.tensor([0])
    exact = (scores[:, :1] - scores[:, 1:]).amin()
    assert torch.allclose(margins(layers(model), low, high, label), exact, atol=1e-9)
    loose = margins([*layers(model), nn.Hardtanh(-1e9, 1e9)], low, high, label)
    assert loose < exact - 0.1


@pytest.mark.parametrize("label", [0, 1])
def test_one_logit_stands_for_two_scores(label: int) -> None:
    model = randomise(nn.Sequential(nn.Linear(5, 1)))
    low = torch.randn(1, 5, generator=seeded(1), dtype=torch.double)
    high = low + 0.3
    logit = model(corners(low[0], high[0])).flatten()
    exact = logit.amin() if label else -logit.amax()
    for parts in (layers(model), [*layers(model), nn.Identity()]):
        assert torch.allclose(margins(parts, low, high, torch.tensor([label])), exact, atol=1e-9)


def test_last_layers_that_keep_the_order_are_left_out_but_not_inner_ones() -> None:
    inner, last = nn.Linear(4, 4), nn.Linear(4, 2)
    net = nn.Sequential(nn.Sequential(inner, nn.Softmax(1)), nn.Sequential(last), nn.LogSoftmax(1))
    assert [type(layer).__name__ for layer in layers(net)] == ["Linear", "Softmax", "Linear"]
    with pytest.raises(UnknownLayer, match="Softmax"):
        propagate(layers(net), torch.zeros(1, 4), torch.ones(1, 4))


def test_a_falling_activation_is_refused() -> None:
    for layer in (nn.LeakyReLU(-0.1), nn.GELU(), nn.ELU(alpha=-1.0)):
        with pytest.raises(UnknownLayer):
            step(layer, torch.zeros(1, 2), torch.ones(1, 2))


def test_bisection_finds_each_rows_own_limit_from_below() -> None:
    limit = torch.tensor([0.3, 0.0001, 2.0, -1.0, 0.0])
    got = largest(lambda eps: eps <= limit, torch.zeros(5), 1.0, 20)
    assert got[0] == pytest.approx(0.3, abs=2e-6)
    assert got[1] == pytest.approx(0.0001, abs=2e-6)
    assert (got[:2] <= limit[:2]).all()
    assert got[2] == 1
    assert got[3] == -1
    assert got[4] == 0


def test_a_logit_behind_a_last_activation_is_bounded_on_the_side_of_each_class() -> None:
    parts = [nn.Tanh()]
    low, high = torch.tensor([[0.2], [0.2], [-0.3]]), torch.tensor([[0.5], [0.5], [0.4]])
    got = margins(parts, low, high, torch.tensor([1, 0, 0]))
    exact = torch.tensor([0.2, -0.5, -0.4]).tanh()
    assert torch.allclose(got, exact)


class Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Skipped(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class Renamed(nn.Linear):
    pass


def test_a_layer_that_computes_something_of_its_own_has_no_bound() -> None:
    """A skip connection in a subclass of Sequential would be left out, and the proof be wrong."""
    low, high = torch.zeros(1, 3), torch.ones(1, 3)
    for net in (Skipped(nn.Linear(3, 3), nn.ReLU()), nn.Sequential(Doubled(3, 3), nn.ReLU())):
        with pytest.raises(UnknownLayer, match=type(net[0]).__name__ + "|Skipped"):
            propagate(layers(net), low, high)
    with pytest.raises(UnknownLayer, match="Doubled"):
        margins(layers(nn.Sequential(Doubled(3, 2))), low, high, torch.tensor([0]))
    assert len(propagate(layers(nn.Sequential(Renamed(3, 3))), low, high)) == 2


def test_weights_that_are_computed_anew_are_bounded_as_they_are() -> None:
    conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 2, 2))
    low = torch.zeros(1, 1, 3, 3)
    below, above = step(conv, low, low + 0.1)
    mixed = conv(0.1 * torch.rand(50, 1, 3, 3, generator=seeded(0)))
    assert ((below <= mixed + 1e-6) & (mixed <= above + 1e-6)).all()
