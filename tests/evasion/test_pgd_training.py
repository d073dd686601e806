"""PGD training where the robust solution is known, and on digits."""

import pytest
import torch
from torch import nn

from holdfast.core.dataset import Dataset
from holdfast.core.run import Run
from holdfast.core.space import Box
from holdfast.engine.train import train
from holdfast.evasion.defences.pgd_training import PGDTraining
from holdfast.targets.torch import TorchClassifier
from holdfast.targets.training import ClassifierRecipe

WIDE = Box(-10.0, 10.0)


def line() -> nn.Module:
    return nn.Linear(9, 2)


def brittle(rows: int = 600) -> Dataset:
    """One feature +-1 that agrees with the class in 90 %, eight weak ones of mean +-0.3.

    As in Tsipras et al. 2019, sec. 2.1: together the weak ones tell the class best, but a change
    of 0.45 turns them round, so that a robust model must not use them.
    """
    rng = torch.Generator().manual_seed(0)
    y = torch.randint(2, (rows,), generator=rng)
    sign = (2 * y - 1).float()
    agrees = torch.where(torch.rand(rows, generator=rng) < 0.9, 1.0, -1.0)
    weak = 0.3 * sign.unsqueeze(1) + 0.3 * torch.randn(rows, 8, generator=rng)
    x = torch.cat([(sign * agrees).unsqueeze(1), weak], 1)
    return Dataset("brittle", x, y, ("a", "b"), WIDE)


def weights(module: nn.Module) -> torch.Tensor:
    return (module.weight[1] - module.weight[0]).detach()


def test_features_that_the_attacker_can_turn_round_are_not_used() -> None:
    data, recipe = brittle(), ClassifierRecipe(line, epochs=15, rate=1e-2, space=WIDE)
    plain = weights(recipe.train(data, 0).module)
    method = PGDTraining(eps=0.45, epochs=15, rate=1e-2)
    robust = weights(train(method, recipe, data, Run()))
    assert plain[1:].mean() > 0.5 * plain[0]  # ordinary training leans on the weak ones
    assert robust[0] > 1
    assert robust[1:].abs().max() < 0.2 * robust[0]


@pytest.mark.parametrize("measure", ["linf", "l2"])
def test_the_inner_maximum_is_the_closed_form_one_of_a_linear_model(measure: str) -> None:
    data, module = brittle(50), line()
    method = PGDTraining(measure=measure, steps=30)
    target, rng = TorchClassifier(module, WIDE), torch.Generator().manual_seed(0)
    worst = method._worst(target, data.tensor, data.y, 0.3, rng)
    w = weights(module) * (1 - 2 * data.y).unsqueeze(1)
    size = w.abs().sum(1) if measure == "linf" else w.norm(dim=1)
    gained = (w * (worst - data.tensor)).sum(1) / (0.3 * size)
    assert (gained > 0.95).all()
    assert (gained < 1 + 1e-4).all()
    assert all(p.grad is None and p.requires_grad for p in module.parameters())


def test_the_same_seed_gives_the_same_bits_and_another_does_not(digits, recipe) -> None:
    data, method = digits[0].first(200), PGDTraining(epochs=2, steps=2)
    before = torch.random.get_rng_state()
    one, same, other = (train(method, recipe, data, Run(seed=s)).state_dict() for s in (0, 0, 1))
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert not any(torch.equal(one[k], other[k]) for k in one)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_batch_norm_learns_in_training_mode_only_and_the_module_ends_in_evaluation(digits) -> None:
    def net() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10))

    heard = []
    method = PGDTraining(epochs=2, steps=3, batch=50)
    recipe = ClassifierRecipe(net)
    module = train(method, recipe, digits[0].first(200), Run(), heard.append)
    assert int(module[1].num_batches_tracked) == 2 * 4  # the inner steps leave it alone
    assert not module.training
    assert [(m.name, m.part) for m in heard] == [
        (name, f"epoch={epoch}")
        for epoch in (1, 2)
        for name in ("training loss", "robust accuracy on training batch")
    ]


def test_the_radius_grows_to_its_full_size_over_the_ramp(digits, recipe, monkeypatch) -> None:
    seen = []

    def note(self, target, x, y, eps, rng):
        seen.append(eps)
        return x

    monkeypatch.setattr(PGDTraining, "_worst", note)
    method = PGDTraining(eps=0.2, epochs=8, ramp=0.5, batch=100)
    train(method, recipe, digits[0].first(100), Run())
    assert seen == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.2, 0.2, 0.2, 0.2])
