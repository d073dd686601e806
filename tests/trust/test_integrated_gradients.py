"""Integrated gradients: closed forms of a linear and a product model, and completeness."""

import pytest
import torch
from torch import Tensor, nn

from holdfast.core.run import Run
from holdfast.core.space import Box
from holdfast.engine.explain import explain
from holdfast.engine.ledger import Ledger
from holdfast.targets.torch import TorchClassifier
from holdfast.trust.explainers.integrated_gradients import IntegratedGradients


def attribute(module: nn.Module, x: Tensor, y: Tensor, **params: float) -> Tensor:
    return explain(IntegratedGradients(**params), TorchClassifier(module), x, y, Run(), Ledger())


def uniform(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("baseline", [0.0, 0.5])
def test_a_linear_models_attribution_is_weight_times_change(baseline: float) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(9, 4))
    x, y = uniform(5, 1, 3, 3), torch.tensor([0, 1, 2, 3, 1])
    weight = module[1].weight.detach()[y].view_as(x)
    got = attribute(module, x, y, baseline=baseline)
    assert torch.allclose(got, weight * (x - baseline), atol=1e-5)


class Powers(nn.Module):
    """Scores (x0 x1, x2^3): path integrals are known by hand."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x[:, 0] * x[:, 1], x[:, 2] ** 3], 1)


def test_a_products_value_is_shared_in_equal_parts() -> None:
    x = torch.tensor([[0.6, 0.5, 0.9], [0.6, 0.5, 0.9]])
    got = attribute(Powers(), x, torch.tensor([0, 1]))
    exact = torch.tensor([[0.15, 0.15, 0.0], [0.0, 0.0, 0.729]])
    assert torch.allclose(got, exact, atol=1e-5)


@pytest.mark.parametrize(("steps", "room"), [(64, 0.05), (512, 0.01)])
def test_attributions_add_up_to_the_change_of_the_logit(digit_target, digits, steps, room) -> None:
    """Changes are about 10; the sum's error on a network of ReLUs shrinks with the steps."""
    x, y = digits[1].x[:30], digits[1].y[:30]
    method = IntegratedGradients(steps=steps)
    got = explain(method, digit_target, x, y, Run(batch_size=25), Ledger())
    logit = digit_target.scores(x).gather(1, y[:, None]).flatten()
    start = digit_target.scores(torch.zeros_like(x)).gather(1, y[:, None]).flatten()
    assert (got.sum((1, 2, 3)) - (logit - start)).abs().max() < room
    assert (got[x == 0] == 0).all()


def test_one_logit_models_are_explained_with_the_sign_of_the_class() -> None:
    module = nn.Linear(3, 1)
    x = uniform(2, 3)
    got = attribute(module, x, torch.tensor([1, 0]))
    weight = module.weight.detach()[0] / 2  # the scores are minus and plus half of the logit
    assert torch.allclose(got[0], weight * x[0], atol=1e-5)
    assert torch.allclose(got[1], -weight * x[1], atol=1e-5)


def test_a_tables_baseline_is_the_nearest_valid_row() -> None:
    low, high = torch.tensor([10.0, -4.0, -2.0]), torch.tensor([20.0, -1.0, 2.0])
    module = nn.Linear(3, 2)
    x, y = low + (high - low) * uniform(4, 3), torch.tensor([0, 1, 1, 0])
    target = TorchClassifier(module, Box(low, high, high - low))
    got = explain(IntegratedGradients(), target, x, y, Run(), Ledger())
    start = torch.tensor([10.0, -1.0, 0.0])
    assert torch.allclose(got, module.weight.detach()[y] * (x - start), atol=1e-4)


def test_the_model_stays_as_it_was_and_no_rows_are_no_problem() -> None:
    module = nn.Sequential(nn.Linear(4, 6), nn.Dropout(), nn.Linear(6, 2)).train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    state = torch.random.get_rng_state()
    one, again = (attribute(module, uniform(3, 4), torch.tensor([0, 1, 0])) for _ in range(2))
    assert torch.equal(one, again)
    assert module.training
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in module.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)
    rng = torch.Generator()
    empty = torch.zeros(0, 4)
    method, target = IntegratedGradients(), TorchClassifier(module)
    assert method.attribute(target, empty, torch.zeros(0, dtype=torch.long), rng).shape == (0, 4)
