"""BPDA: by hand, and on defences whose gradient is useless or points the wrong way."""

from dataclasses import dataclass

import pytest
import torch

from holdfast.core.errors import NeedsError
from holdfast.core.goal import AwayFrom, ToClass
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.core.target import Shielded
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.bpda import BPDA
from holdfast.evasion.attacks.pgd import PGD
from holdfast.ops.surrogates import least_squares, mimic, pulled
from holdfast.targets.wrappers import Defended
from tests.oracles import two_class
from tests.toys import LinearTarget


@dataclass(frozen=True)
class Rounded:
    """Levels of 1 / 8: the derivative is zero almost everywhere."""

    def apply(self, x, rng):
        return (8 * x).round() / 8


@dataclass(frozen=True)
class Inverted:
    """Negatives, rounded: the identity points exactly the wrong way."""

    def apply(self, x, rng):
        return (32 * (1 - x)).round() / 32


@dataclass(frozen=True)
class Folded:
    """Negatives of the brighter half of the rows alone: no linear map does that."""

    def apply(self, x, rng):
        bright = x.mean(1, keepdim=True) > 0.5
        return (64 * torch.where(bright, 1 - x, x)).round() / 64


@dataclass(frozen=True)
class Tail:
    """Leaves the first feature out."""

    def apply(self, x, rng):
        return x[:, 1:].round()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_with_the_identity_it_is_pgd_on_the_model_at_what_the_defence_shows(norm: str) -> None:
    inner, x = two_class()
    defended, eps = Defended(inner, Rounded()), 0.1
    goal, budget = AwayFrom(defended.answer(x)), Budget(norm, eps)
    got = attack(BPDA(steps=3, random_start=False), defended, x, goal, budget, Run())
    adv = x
    best = x
    for _ in range(4):
        shown = (8 * adv).round() / 8
        fell = inner.answer(shown) != goal.labels
        best = torch.where(fell.view(-1, 1) & (best == x).all(1, keepdim=True), adv, best)
        grad = inner.gradient(shown, goal.loss).wrt_input
        step = 2.5 * eps / 3 * inner.space.steepest(grad, adv, budget)
        adv = inner.space.project(adv + step, x, budget)
    assert got.success.any()
    won = got.success
    assert torch.allclose(got.x[won], best[won], atol=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_rows_fall_exactly_when_the_boundary_is_in_the_ball_though_the_gradient_is_zero(
    norm: str,
) -> None:
    inner, x = two_class()
    x = (8 * x).round() / 8
    far = inner.distance(x, norm)
    defended = Defended(inner, Rounded())
    goal = AwayFrom(defended.answer(x))
    # half a level of rounding per feature is all that the defence can add
    room = far + 0.5 / 8 * (1 if norm == "linf" else x[0].numel() ** 0.5)
    got = attack(BPDA(steps=40), defended, x, goal, Budget(norm, room * 1.05), Run())
    assert got.success.all()
    wanted = ToClass(1 - goal.labels)
    assert attack(BPDA(), defended, x, wanted, Budget(norm, room * 1.05), Run()).success.all()


def test_a_learned_backward_pass_breaks_an_inverting_defence_where_the_identity_fails() -> None:
    inner, x = two_class(n=32)
    defended = Defended(inner, Inverted())
    goal = AwayFrom(defended.answer(x))
    budget = Budget("linf", 1.3 * inner.distance(1 - x, "linf") + 1 / 64)
    blind = attack(BPDA(steps=20), defended, x, goal, budget, Run())
    learned = attack(BPDA(steps=20, backward="learned"), defended, x, goal, budget, Run())
    assert learned.success.all()
    assert blind.success.float().mean() < 0.2
    assert torch.equal(
        learned.x, attack(BPDA(steps=20, backward="learned"), defended, x, goal, budget, Run()).x
    )


def test_learned_jacobians_point_where_a_nonlinear_defence_goes() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(4096, 8, generator=rng)
    x = x + torch.where(x.mean(1, keepdim=True) > 0.5, 0.2, -0.2)
    net = mimic(x, Folded().apply(x, rng), 800, rng)
    grad = torch.ones(len(x), 8)
    pull = pulled(net, x, grad).mean(1)
    wanted = torch.where(x.mean(1) > 0.5, -1.0, 1.0)
    assert float((pull.sign() == wanted).float().mean()) > 0.97
    linear = least_squares(x, Folded().apply(x, rng))[0].sum() / 8
    assert abs(float(linear)) < 0.7  # no one slope does for both halves


def test_least_squares_finds_a_linear_map_exactly() -> None:
    rng = torch.Generator().manual_seed(0)
    x, w, b = (torch.randn(*s, generator=rng) for s in ((200, 6), (6, 4), (4,)))
    weight, bias = least_squares(x, x @ w + b, ridge=0.0)
    assert torch.allclose(weight, w, atol=1e-4)
    assert torch.allclose(bias, b, atol=1e-4)


def test_a_learned_backward_pass_also_serves_a_defence_that_changes_the_shape() -> None:
    inner = LinearTarget.two_class(features=11)
    x = torch.full((4, 12), 0.6)
    defended = Defended(inner, Tail())
    goal, budget = AwayFrom(defended.answer(x)), Budget("linf", 0.2)
    got = attack(BPDA(steps=10, backward="learned"), defended, x, goal, budget, Run())
    assert got.success.all()


def test_the_pairs_cost_no_passes_and_the_ledger_counts_the_rest() -> None:
    inner, x = two_class()
    defended = Defended(inner, Rounded())
    goal = AwayFrom(defended.answer(x))
    for backward in ("identity", "learned"):
        method = BPDA(steps=5, backward=backward)
        got = attack(method, defended, x, goal, Budget("linf", 1e-4), Run())
        assert (got.forwards, got.backwards) == (6 * len(x), 5 * len(x))
        short = attack(method, defended, x, goal, Budget("linf", 1e-4), Run(queries=3))
        assert short.forwards + short.backwards <= 3 * len(x)


def test_a_model_without_a_defence_apart_is_refused() -> None:
    inner, x = two_class()
    assert not isinstance(inner, Shielded)
    with pytest.raises(NeedsError, match="change of inputs"):
        attack(BPDA(), inner, x, AwayFrom(inner.answer(x)), Budget("linf", 0.1), Run())
    assert PGD.measures == BPDA.measures
