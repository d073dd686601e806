"""The PyTorch adapter: right gradients, and a module that is left as it was found."""

import pytest
import torch
from torch import nn

from holdfast.core.errors import NeedsError, TargetError
from holdfast.core.goal import AwayFrom
from holdfast.core.target import Features, Gradients, Scores, Weights
from holdfast.targets.torch import TorchClassifier


def net() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(), nn.Linear(8, 3)
        )  # fmt: skip


X = torch.rand(5, 6, generator=torch.Generator().manual_seed(1))
GOAL = AwayFrom(torch.tensor([0, 1, 2, 0, 1]))


def differences(value, x: torch.Tensor, step: float = 1e-5) -> torch.Tensor:
    """Central differences of the sum of `value(x)`, one coordinate of all rows at a time."""
    steps = step * torch.eye(x.shape[1], dtype=x.dtype)
    columns = [(value(x + d) - value(x - d)) / (2 * step) for d in steps]
    return torch.stack(columns, 1)


def test_it_offers_every_access_but_words() -> None:
    target = TorchClassifier(net())
    assert all(isinstance(target, access) for access in (Scores, Gradients, Features, Weights))


def test_gradients_are_those_of_finite_differences() -> None:
    target, x = TorchClassifier(net().double()), X.double()
    got = target.gradient(x, GOAL.loss)
    exact = differences(lambda v: GOAL.loss(target.scores(v)), x)
    assert torch.allclose(got.wrt_input, exact, atol=1e-8)
    assert torch.equal(got.raw, target.scores(x))
    assert not got.raw.requires_grad


def test_features_are_what_the_last_linear_layer_is_fed_and_have_gradients() -> None:
    target, x = TorchClassifier(net().double()), X.double()
    features = target.features(x)
    last = target.module[-1]
    assert torch.allclose(features @ last.weight.T + last.bias, target.scores(x))
    got = target.feature_gradient(x, lambda f: f.square().sum(1))
    exact = differences(lambda v: target.features(v).square().sum(1), x)
    assert torch.allclose(got.wrt_input, exact, atol=1e-8)
    assert torch.equal(got.raw, features)


def test_answers_are_the_largest_scores_and_a_tie_goes_to_the_first() -> None:
    target = TorchClassifier(net())
    assert torch.equal(target.answer(X), target.scores(X).argmax(1))
    assert target.decode(torch.tensor([[1.0, 1.0], [0.0, 1.0]])).tolist() == [0, 1]


class Logit(nn.Module):
    """One binary logit, as (N,) or (N, 1)."""

    def __init__(self, column: bool) -> None:
        super().__init__()
        self.column, self.linear = column, nn.Linear(6, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raw = self.linear(x)
        return raw if self.column else raw.flatten()


@pytest.mark.parametrize("column", [True, False])
def test_one_logit_is_two_classes_whose_softmax_is_its_sigmoid(column: bool) -> None:
    target = TorchClassifier(Logit(column))
    logit = target.module(X).reshape(-1).detach()
    assert torch.allclose(target.scores(X).softmax(1)[:, 1], logit.sigmoid())
    assert torch.equal(target.answer(X), (logit > 0).long())
    push = target.gradient(X, AwayFrom(torch.zeros(5, dtype=torch.long)).loss).wrt_input
    assert torch.allclose(push, logit.sigmoid().unsqueeze(1) * target.module.linear.weight)
    for k, sign in ((0, -0.5), (1, 0.5)):  # the score of either class has a gradient
        own = target.gradient(X, lambda raw, k=k: raw[:, k]).wrt_input
        assert torch.allclose(own, sign * target.module.linear.weight.expand(5, -1))


def test_dense_models_answer_every_pixel() -> None:
    target = TorchClassifier(nn.Conv2d(1, 4, 1))
    x = torch.rand(2, 1, 5, 7)
    assert target.answer(x).shape == (2, 5, 7)
    assert target.gradient(x, lambda raw: raw.sum((1, 2, 3))).wrt_input.shape == x.shape


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("call", ["scores", "gradient", "features", "feature_gradient"])
def test_the_module_is_left_as_it_was_found_even_after_an_error(call: str, fails: bool) -> None:
    module = net().train()
    module[3].eval()  # a mixed state must come back mixed
    module[1].bias.requires_grad_(False)
    target = TorchClassifier(module)
    modes = [m.training for m in module.modules()]
    wants = [p.requires_grad for p in module.parameters()]
    state = {k: v.clone() for k, v in module.state_dict().items()}
    rng = torch.random.get_rng_state()
    x = X[:, :3] if fails else X
    loss = (lambda raw: raw.sum(1),) if "gradient" in call else ()
    if fails:
        with pytest.raises(RuntimeError):
            getattr(target, call)(x, *loss)
    else:
        getattr(target, call)(x, *loss)
    assert [m.training for m in module.modules()] == modes
    assert [p.requires_grad for p in module.parameters()] == wants
    assert all(p.grad is None for p in module.parameters())
    assert all(torch.equal(v, state[k]) for k, v in module.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())
    assert torch.equal(torch.random.get_rng_state(), rng)


def test_gradients_can_be_had_where_gradients_are_switched_off() -> None:
    target = TorchClassifier(net())
    expected = target.gradient(X, GOAL.loss).wrt_input
    with torch.no_grad():
        assert torch.equal(target.gradient(X, GOAL.loss).wrt_input, expected)


def test_dropout_and_batch_statistics_play_no_part() -> None:
    target = TorchClassifier(net().train())
    assert torch.equal(target.scores(X), target.scores(X))
    assert torch.allclose(target.scores(X)[:1], target.scores(X[:1]), atol=1e-6)


def test_what_is_no_classifier_is_said_so() -> None:
    with pytest.raises(TargetError, match=r"\(N, K\) scores"):
        TorchClassifier(nn.Flatten(0)).scores(X)


def test_a_model_without_a_linear_layer_does_not_offer_features() -> None:
    for call in ("features", "feature_gradient"):
        target = TorchClassifier(nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten()))
        with pytest.raises(NeedsError, match=r"nn\.Linear"):
            getattr(target, call)(torch.rand(1, 1, 2, 2), *[torch.sum] * (call != "features"))
