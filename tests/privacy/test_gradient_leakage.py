"""Gradient leakage: exact where theory says so, and exact images from a sigmoid network."""

import pytest
import torch
from torch import nn

from holdfast.core.target import SharedGradients
from holdfast.engine.ledger import Ledger, view
from holdfast.ops.leakage import input_from_linear, label_from_bias
from holdfast.privacy.attacks.gradient_leakage import GradientLeakage
from holdfast.targets.federated import FederatedClient

UNKNOWN = torch.tensor([-1])


def sigmoid_cnn() -> nn.Module:
    """The paper's LeNet, with one stride less for 8 x 8 images and its wide initial weights."""
    module = nn.Sequential(
        nn.Conv2d(1, 12, 5, padding=2, stride=2), nn.Sigmoid(),
        nn.Conv2d(12, 12, 5, padding=2, stride=2), nn.Sigmoid(),
        nn.Conv2d(12, 12, 5, padding=2), nn.Sigmoid(),
        nn.Flatten(), nn.Linear(48, 10),
    )  # fmt: skip
    rng = torch.Generator().manual_seed(0)
    for p in module.parameters():
        p.data.uniform_(-0.5, 0.5, generator=rng)
    return module


def mlp() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def client(module: nn.Module, digits, i: int) -> FederatedClient:
    test = digits[1]
    return FederatedClient(module, test.tensor[i : i + 1], test.y[i : i + 1])


def attack(method: GradientLeakage, target, seed: int = 0):
    return list(
        method.reconstruct(
            target, UNKNOWN, torch.zeros(1, 1, 8, 8), torch.Generator().manual_seed(seed)
        )
    )


def test_the_label_is_the_only_negative_bias_gradient(digits) -> None:
    for i in range(20):
        each = client(sigmoid_cnn(), digits, i)
        gradient = each.shared()[-1]
        assert int(label_from_bias(gradient)) == int(each.y)
        assert int((gradient < 0).sum()) == 1


def test_behind_a_fully_connected_layer_the_input_is_a_quotient(digits) -> None:
    for i in range(5):
        each = client(mlp(), digits, i)
        weight, bias = each.shared()[:2]
        torch.testing.assert_close(
            input_from_linear(weight, bias), each.x.flatten().double(), atol=1e-9, rtol=0
        )
        found = attack(GradientLeakage(), each)
        assert len(found) == 1  # it needs no search
        assert (found[-1] - each.x).abs().max() < 1e-5


def test_images_are_recovered_exactly_from_a_sigmoid_network(digits) -> None:
    module, exact = sigmoid_cnn(), 0
    for i in range(5):
        each = client(module, digits, i)
        found = attack(GradientLeakage(), each, seed=i)[-1]
        exact += bool((found - each.x).square().mean() < 1e-4)
    assert exact >= 4


def test_without_the_analytic_label_it_is_searched_for(digits) -> None:
    module = sigmoid_cnn()
    errors = []
    for i in range(2):
        each = client(module, digits, i)
        found = attack(GradientLeakage(known_label=False), each, seed=i)[-1]
        errors.append(float((found - each.x).square().mean()))
    assert max(errors) < 1e-4


def test_later_reconstructions_match_the_gradient_better_and_cost_is_counted(digits) -> None:
    each, ledger = client(sigmoid_cnn(), digits, 0), Ledger()
    seen = view(GradientLeakage(), each, ledger)
    assert not hasattr(seen, "x")
    assert not hasattr(seen, "module")
    found = attack(GradientLeakage(iterations=3, restarts=6), seen)
    assert len(found) > 1
    assert ledger.backwards == 2 * ledger.forwards > 0
    label = torch.nn.functional.one_hot(each.y, 10).double()

    def mismatch(x: torch.Tensor) -> float:
        both = zip(each.simulate(x.double(), label), each.shared(), strict=True)
        return sum(float((a - b).square().sum().detach()) for a, b in both)

    errors = [mismatch(x) for x in found]
    assert errors == sorted(errors, reverse=True)


def test_a_client_shares_the_gradient_of_its_mean_loss_and_leaves_the_module_alone(digits) -> None:
    module = mlp().train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    test = digits[1]
    each = FederatedClient(module, test.tensor[:4], test.y[:4])
    assert isinstance(each, SharedGradients)
    assert (each.shape, each.classes) == ((1, 8, 8), 10)
    loss = nn.functional.cross_entropy(module(each.x), each.y)
    expected = torch.autograd.grad(loss, list(module.parameters()))
    for got, wanted in zip(each.shared(), expected, strict=True):
        torch.testing.assert_close(got.float(), wanted, atol=1e-6, rtol=1e-4)
    assert module.training
    assert all(p.grad is None and p.dtype == torch.float32 for p in module.parameters())
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


def test_simulating_is_differentiable_in_inputs_and_labels(digits) -> None:
    each = client(sigmoid_cnn(), digits, 0)
    x = torch.full((1, 1, 8, 8), 0.5, dtype=torch.float64, requires_grad=True)
    y = torch.full((1, 10), 0.1, dtype=torch.float64, requires_grad=True)
    total = sum(g.square().sum() for g in each.simulate(x, y))
    wrt_x, wrt_y = torch.autograd.grad(total, (x, y))
    step = 1e-6
    moved = x.detach().clone()
    moved[0, 0, 3, 3] += step
    after = sum(g.square().sum() for g in each.simulate(moved, y))
    assert float((after - total).detach()) / step == pytest.approx(
        float(wrt_x[0, 0, 3, 3]), rel=1e-3
    )
    assert wrt_y.abs().max() > 0
