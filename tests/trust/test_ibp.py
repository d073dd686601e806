"""Interval certificates: exact on linear models, never broken on others."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from holdfast.core.errors import NotApplicable
from holdfast.core.run import Run
from holdfast.core.space import Box, Waveform
from holdfast.engine.certify import certify
from holdfast.engine.ledger import Ledger
from holdfast.targets.torch import TorchClassifier
from holdfast.trust.certifiers.ibp import IBP


def linear(features: int, classes: int, seed: int = 0) -> nn.Sequential:
    rng = torch.Generator().manual_seed(seed)
    layer = nn.Linear(features, classes)
    with torch.no_grad():
        layer.weight.normal_(generator=rng)
        layer.bias.normal_(generator=rng)
    return nn.Sequential(nn.Flatten(), layer)


def network(seed: int = 0) -> nn.Sequential:
    rng = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        for p in net.parameters():
            p.normal_(generator=rng)
    return net


def radii(target: object, x: Tensor, y: Tensor, method: IBP | None = None) -> Tensor:
    return certify(method or IBP(), target, x, y, Run(), Ledger())


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("classes", [2, 5])
def test_the_radius_of_a_linear_model_is_its_distance_to_the_boundary(classes: int) -> None:
    target = TorchClassifier(linear(20, classes), Box(-100.0, 100.0))
    x = uniform(30, 20)
    scores = target.scores(x)
    y = scores.argmax(1)
    weight = target.module[1].weight.detach()
    gap = scores.gather(1, y[:, None]) - scores
    slope = (weight[y][:, None] - weight[None]).abs().sum(2)
    exact = (gap / slope).nan_to_num(torch.inf).masked_fill(slope == 0, torch.inf).amin(1)
    assert torch.allclose(radii(target, x, y), exact, rtol=1e-3, atol=1e-5)
    assert (radii(target, x, y) <= exact).all()


def test_the_box_makes_the_radius_larger_by_what_it_cuts_off() -> None:
    """Class 1 where the mean is above 0.5; near white, only downward changes matter."""
    target = TorchClassifier(linear(4, 2))
    with torch.no_grad():
        target.module[1].weight.copy_(torch.tensor([[-1.0] * 4, [1.0, 1.0, 1.0, -3.0]]))
        target.module[1].bias.copy_(torch.tensor([0.0, -2.0]))
    x = torch.tensor([[1.0, 1.0, 1.0, 0.9]])
    # gap 2 x0 + 2 x1 + 2 x2 - 2 x3 - 2 = 2.2; the last can rise by 0.1 only: 6 r + 0.2 = 2.2
    assert radii(target, x, torch.tensor([1])) == pytest.approx(1 / 3, abs=1e-4)


def test_radii_are_in_units_of_the_spaces_scale() -> None:
    plain = TorchClassifier(linear(5, 3), Box(-100.0, 100.0))
    scale = torch.tensor([2.0, 1.0, 0.5, 4.0, 1.0])
    x = uniform(6, 5)
    y = plain.answer(x)
    stretched = TorchClassifier(linear(5, 3), Box(-100.0, 100.0, scale))
    inner = TorchClassifier(linear(5, 3), Box(-100.0, 100.0))
    with torch.no_grad():
        inner.module[1].weight.mul_(scale)  # the same model on inputs divided by the scale
    assert torch.allclose(radii(stretched, x, y), radii(inner, x / scale, y), atol=2e-6)


def test_no_corner_or_inner_point_of_a_certified_box_is_answered_otherwise() -> None:
    target = TorchClassifier(network())
    x = uniform(40, 4)
    y = target.answer(x)
    radius = radii(target, x, y)
    assert (radius > 0.001).sum() >= 20
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=4)))
    rng = torch.Generator().manual_seed(1)
    inner = 2 * torch.rand(300, 4, generator=rng) - 1
    for way in torch.cat([signs, inner]):
        moved = (x + radius.clamp(min=0)[:, None] * way).clamp(0, 1)
        assert (target.answer(moved) == y).all()


def test_one_hidden_layer_is_never_certified_beyond_the_true_radius() -> None:
    """|x0 - x1| > 0.2 by two ReLUs: the true radius at distance d from it is d / 2."""
    hidden, last = nn.Linear(2, 2), nn.Linear(2, 2)
    with torch.no_grad():
        hidden.weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))
        hidden.bias.zero_()
        last.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
        last.bias.copy_(torch.tensor([0.0, -0.2]))
    target = TorchClassifier(nn.Sequential(hidden, nn.ReLU(), last))
    x = torch.tensor([[0.9, 0.1], [0.5, 0.45], [0.4, 0.6]])
    got = radii(target, x, torch.tensor([1, 0, 1]))
    assert got[0] == pytest.approx(0.3, abs=1e-4)  # one ReLU is inactive: exact
    # both ReLUs may be active: (0.05 + 2 r) + max(0, 2 r - 0.05) = 0.2 gives 0.05, true is 0.075
    assert got[1] == pytest.approx(0.05, abs=1e-4)
    assert got[2] == -1  # |0.4 - 0.6| is not above 0.2


def test_wrong_rows_are_not_certified_and_constant_models_are_fully() -> None:
    target = TorchClassifier(linear(6, 2))
    x = uniform(8, 6)
    assert (radii(target, x, 1 - target.answer(x)) == -1).all()
    with torch.no_grad():
        target.module[1].weight.zero_()
        target.module[1].bias.copy_(torch.tensor([0.0, 1.0]))
    assert (radii(target, x, torch.ones(8, dtype=torch.long)) == 1).all()


def test_what_it_does_not_know_it_names(digits) -> None:
    x = digits[1].x[:2]
    target = TorchClassifier(nn.Sequential(nn.Flatten(), nn.GELU(), nn.Linear(64, 10)))
    with pytest.raises(NotApplicable, match="GELU"):
        radii(target, x, torch.zeros(2, dtype=torch.long))

    class Own(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :10]

    with pytest.raises(NotApplicable, match="Own"):
        radii(TorchClassifier(Own()), x, torch.zeros(2, dtype=torch.long))
    with pytest.raises(NotApplicable, match="images and tables"):
        radii(TorchClassifier(linear(64, 10), Waveform()), x, torch.zeros(2, dtype=torch.long))


def test_the_model_stays_as_it_was() -> None:
    module = nn.Sequential(nn.Linear(4, 6), nn.Dropout(), nn.Linear(6, 2)).train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    radii(TorchClassifier(module), uniform(3, 4), torch.zeros(3, dtype=torch.long))
    assert module.training
    assert all(
        torch.equal(v, before[k]) and v.dtype == torch.float32
        for k, v in module.state_dict().items()
    )
    assert all(p.requires_grad for p in module.parameters())


def test_digits_are_certified_a_little_and_no_gradient_step_breaks_it(digit_target, digits) -> None:
    x, y = digits[1].x, digits[1].y
    radius = radii(digit_target, x, y)
    right = digit_target.answer(x) == y
    assert ((radius >= 0) <= right).all()
    assert (radius >= 0.001).sum() > 0.8 * len(y)
    from holdfast.core.goal import AwayFrom

    eps = radius.clamp(min=0)[:, None, None, None]
    grad = digit_target.gradient(x, AwayFrom(y).loss).wrt_input
    moved = (x + eps * grad.sign()).clamp(0, 1)
    assert (digit_target.answer(moved)[radius > 0] == y[radius > 0]).all()
