"""DP-SGD: what is spent, what one step does, and what is refused."""

import math

import pytest
import torch
from torch import nn

from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError, NotApplicable
from holdfast.core.record import Measurement
from holdfast.core.run import Run
from holdfast.engine.train import train as fit
from holdfast.ops.accounting import ORDERS, epsilon, renyi
from holdfast.privacy.defences.dp_sgd import DPSGD
from holdfast.targets.training import ClassifierRecipe

pytest.importorskip("opacus")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows(x: torch.Tensor, y: torch.Tensor) -> Dataset:
    return Dataset("rows", x, y, ("a", "b"))


def told(method: DPSGD, module: nn.Module, data: Dataset) -> list[Measurement]:
    """What training the module yields."""
    return list(method.train(module, ClassifierRecipe(lambda: module), data, generator()))


def one_step(method: DPSGD, module: nn.Module, data: Dataset) -> torch.Tensor:
    """Change of all parameters."""
    before = nn.utils.parameters_to_vector(module.parameters()).detach().clone()
    told(method, module, data)
    return nn.utils.parameters_to_vector(module.parameters()).detach() - before


def test_the_accountant_gives_the_number_of_the_paper() -> None:
    """Abadi et al. 2016, sec. 3.1: q = 0.01, sigma = 4, 10 000 steps, delta = 1e-5: 1.26."""
    moments = min(10_000 * renyi(a, 0.01, 4.0) + math.log(1e5) / (a - 1) for a in ORDERS)
    assert moments == pytest.approx(1.26, abs=0.005)
    assert epsilon(0.01, 4.0, 10_000, 1e-5) < moments


def test_without_sampling_the_renyi_divergence_is_that_of_two_gaussians() -> None:
    for a in (2, 7, 30):
        assert renyi(a, 1.0, 1.5) == pytest.approx(a / (2 * 1.5**2))
        assert renyi(a, 0.999999, 1.5) == pytest.approx(a / (2 * 1.5**2), rel=1e-3)


@pytest.mark.parametrize(
    ("batch", "noise", "epochs", "within"),
    [(64, 1.3, 3, 0.02), (200, 2.0, 5, 0.02), (20, 0.8, 2, 0.08)],
)
def test_the_epsilon_that_is_told_is_ours_with_whole_orders(batch, noise, epochs, within) -> None:
    """Opacus also tries orders in between, which matter at low noise."""
    data = rows(torch.zeros(1000, 2), torch.zeros(1000, dtype=torch.long))
    method = DPSGD(epochs=epochs, batch=batch, noise=noise)
    found = [m.value for m in told(method, nn.Linear(2, 2), data) if m.name == "epsilon"]
    share, steps = batch / 1000, round(1000 / batch)
    ours = [epsilon(share, noise, steps * (e + 1), 1e-5) for e in range(epochs)]
    for got, bound in zip(found, ours, strict=True):
        assert bound * (1 - within) <= got <= bound * 1.001
    assert found == sorted(found)


def test_numerical_accounting_is_no_looser_than_the_renyi_bound() -> None:
    data = rows(torch.zeros(400, 2), torch.zeros(400, dtype=torch.long))
    renyi_bound, numerical = (
        told(DPSGD(epochs=1, batch=40, accountant=name), nn.Linear(2, 2), data)[-1].value
        for name in ("rdp", "prv")
    )
    assert 0.6 * renyi_bound < numerical < renyi_bound


def test_a_long_gradient_is_clipped_and_keeps_its_direction() -> None:
    """One row, drawn for sure: the step is rate * clip long, up to one percent of noise."""
    module = nn.Linear(3, 2, bias=False)
    nn.init.zeros_(module.weight)
    data = rows(torch.tensor([[300.0, 0.0, 400.0]]), torch.tensor([0]))
    step = one_step(DPSGD(epochs=1, batch=1, rate=0.5, noise=0.01, clip=0.2), module, data)
    # d loss / d w = (p - [0, 1 at y]) x: the first row falls, so the weights of class 0 rise
    direction = torch.tensor([0.6, 0.0, 0.8, -0.6, 0.0, -0.8]) / 2**0.5
    torch.testing.assert_close(step, 0.5 * 0.2 * direction, atol=0.005, rtol=0)


def test_a_short_gradient_is_left_as_it_is() -> None:
    module = nn.Linear(3, 2, bias=False)
    nn.init.zeros_(module.weight)
    data = rows(torch.tensor([[0.3, 0.0, 0.4], [0.0, 0.2, 0.0]]), torch.tensor([0, 0]))
    step = one_step(DPSGD(epochs=1, batch=2, rate=1.0, noise=0.01, clip=0.5), module, data)
    mean = torch.tensor([0.15, 0.1, 0.2])
    torch.testing.assert_close(step, torch.cat([mean, -mean]) / 2, atol=0.015, rtol=0)


def test_the_noise_has_the_size_that_was_accounted_for() -> None:
    """Inputs of zero give no gradient, so that all that is left is the noise."""
    module = nn.Linear(2000, 2, bias=False)
    data = rows(torch.zeros(10, 2000), torch.zeros(10, dtype=torch.long))
    step = one_step(DPSGD(epochs=1, batch=10, rate=0.5, noise=1.3, clip=2.0), module, data)
    assert float(step.std()) == pytest.approx(0.5 * 1.3 * 2.0 / 10, rel=0.05)


def test_it_learns_repeats_itself_and_leaves_nothing_behind(digits) -> None:
    train, test = digits
    recipe = ClassifierRecipe(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Dropout(0.1), nn.Linear(32, 10))
    )
    method, before = DPSGD(epochs=4), torch.random.get_rng_state()
    losses: list[list[Measurement]] = [[], []]
    modules = [fit(method, recipe, train, Run(seed=0), heard.append) for heard in losses]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert losses[0] == losses[1]
    for one, other in zip(modules[0].parameters(), modules[1].parameters(), strict=True):
        assert torch.equal(one, other)
        assert one.grad is None
        assert not vars(one)
    assert not any(m._forward_hooks or m._backward_hooks for m in modules[0].modules())
    assert not modules[0].training
    assert float((recipe.wrap(modules[0]).answer(test.tensor) == test.y).float().mean()) > 0.6


def test_batch_norm_and_a_delta_that_promises_nothing_are_refused() -> None:
    data = rows(torch.zeros(10, 2), torch.zeros(10, dtype=torch.long))
    mixed = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    recipe = ClassifierRecipe(lambda: mixed)
    with pytest.raises(NotApplicable, match="BatchNorm"):
        next(DPSGD().train(mixed, recipe, data, generator()))
    with pytest.raises(InputError, match="delta"):
        next(DPSGD(delta=0.1).train(nn.Linear(2, 2), recipe, data, generator()))
