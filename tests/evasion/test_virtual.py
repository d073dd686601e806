"""The virtual adversarial direction on models whose divergence has a known Hessian."""

from typing import ClassVar

import pytest
import torch

from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.virtual import VirtualAdversarial
from holdfast.ops import balls
from tests.oracles import check_fixed, check_masked, check_targeted, two_class
from tests.toys import LinearTarget

WIDE = Box(-100.0, 100.0)


def softmax_model(features: int, classes: int, scale: float = 1.0) -> LinearTarget:
    plain = LinearTarget.random(features, classes)
    return LinearTarget(scale * plain.weight, plain.bias, WIDE)


def hessian(target: LinearTarget, x: torch.Tensor) -> torch.Tensor:
    """W (diag p - p p^T) W^T, per row, in double precision."""
    w, p = target.weight.double(), target.scores(x).double().softmax(1)
    return w @ (torch.diag_embed(p) - p.unsqueeze(2) * p.unsqueeze(1)) @ w.T


def directions(
    method: VirtualAdversarial, target: LinearTarget, x: torch.Tensor, eps: float = 1.0
) -> list[torch.Tensor]:
    """All changes the method proposes when no row ever leaves."""
    goal, rng = AwayFrom(target.answer(x)), torch.Generator().manual_seed(0)
    search = method.run(target, x, goal, Budget("l2", eps), rng)
    return [candidate.x - x for candidate in search]


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_power_iteration_finds_the_top_eigenvector_of_the_divergence(scale: float) -> None:
    target = softmax_model(20, 5, scale)
    x = 0.1 * torch.randn(30, 20, generator=torch.Generator().manual_seed(1)) / scale
    none, up, down = directions(VirtualAdversarial(power_iterations=60), target, x, eps=0.5)
    values, vectors = torch.linalg.eigh(hessian(target, x))
    apart = values[:, -2] < 0.9 * values[:, -1]  # elsewhere the top eigenvector is barely defined
    cosine = torch.cosine_similarity(up.double(), vectors[..., -1]).abs()
    assert apart.float().mean() > 0.8
    assert (cosine[apart] > 0.99).all()
    assert torch.allclose(balls.size(up, "l2"), torch.full((30,), 0.5), atol=1e-4)
    assert torch.allclose(up, -down, atol=1e-4)
    assert (none == 0).all()


def test_one_iteration_is_one_product_with_the_hessian() -> None:
    target = softmax_model(20, 5)
    x = 0.1 * torch.randn(30, 20, generator=torch.Generator().manual_seed(1))
    start = torch.empty_like(x).normal_(generator=torch.Generator().manual_seed(0)).double()
    product = (hessian(target, x) @ start.unsqueeze(2)).squeeze(2)
    up = directions(VirtualAdversarial(), target, x)[1]
    assert (torch.cosine_similarity(up.double(), product) > 0.999).all()


def test_columns_of_any_range_give_the_same_change_in_their_own_units() -> None:
    plain, scale = softmax_model(20, 5), torch.logspace(-3, 4, 20)
    x = 0.1 * torch.randn(30, 20, generator=torch.Generator().manual_seed(1))
    space = Box(-100 * scale, 100 * scale, scale)
    target = LinearTarget(plain.weight / scale.unsqueeze(1), plain.bias, space)
    up, scaled = (
        directions(VirtualAdversarial(), t, v)[1] for t, v in ((plain, x), (target, x * scale))
    )
    assert torch.allclose(scaled / scale, up, atol=1e-2)


def test_its_divergence_exceeds_that_of_every_random_direction() -> None:
    target = softmax_model(20, 5)
    x = 0.1 * torch.randn(10, 20, generator=torch.Generator().manual_seed(1))

    def divergence(r: torch.Tensor) -> torch.Tensor:
        p, q = (target.scores(v).double().log_softmax(1) for v in (x, x + r))
        return (p.exp() * (p - q)).sum(1)

    _, up, down = directions(VirtualAdversarial(power_iterations=20), target, x, eps=0.1)
    best = torch.maximum(divergence(up), divergence(down))
    rng = torch.Generator().manual_seed(5)
    for _ in range(100):
        noise = 0.1 * balls.steepest(torch.empty_like(x).normal_(generator=rng), "l2")
        assert (divergence(noise) < best).all()


def test_a_confident_model_still_gives_a_direction_of_full_length() -> None:
    target = softmax_model(20, 5, scale=60.0)
    x = torch.randn(30, 20, generator=torch.Generator().manual_seed(1))
    assert (target.scores(x).softmax(1).amax(1) == 1).float().mean() > 0.8  # saturated
    up = directions(VirtualAdversarial(), target, x)[1]
    assert torch.allclose(balls.size(up, "l2"), torch.ones(30), atol=1e-3)


@pytest.mark.parametrize(("factor", "reached"), [(1.05, True), (0.95, False)])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_with_two_classes_it_succeeds_exactly_when_the_boundary_is_inside_the_ball(
    norm: str, factor: float, reached: bool
) -> None:
    target = LinearTarget.two_class(features=12)
    x = torch.cat([torch.full((3, 12), 0.6), torch.full((3, 12), 0.4)])
    budget = Budget(norm, factor * target.distance(x, norm))
    got = attack(VirtualAdversarial(), target, x, AwayFrom(target.answer(x)), budget, Run())
    assert (got.success == reached).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_of_two_classes_the_direction_is_the_nearest_way_to_the_other(norm: str) -> None:
    """H has rank one then; towards a class, with frozen features and a budget per row as well."""
    sharp, x = two_class()
    target = LinearTarget(sharp.weight / 10, sharp.bias / 10)
    check_fixed(VirtualAdversarial(), norm, target, x)
    check_targeted(VirtualAdversarial(), norm)
    check_masked(VirtualAdversarial(), norm)


class Watched(LinearTarget):
    """Keeps the inputs at which gradients were taken."""

    seen: ClassVar[list[torch.Tensor]] = []

    def gradient(self, x, loss):
        self.seen.append(x)
        return super().gradient(x, loss)


def test_the_model_is_never_shown_a_frozen_feature_that_moved() -> None:
    target, x = two_class()
    editable = torch.arange(24) % 2 > 0
    masked = Watched(target.weight / 10, target.bias / 10, Box(editable=editable))
    goal = AwayFrom(target.answer(x))
    attack(VirtualAdversarial(power_iterations=3), masked, x, goal, Budget("l2", 1e-4), Run())
    assert len(Watched.seen) == 3
    for shown in Watched.seen:
        assert torch.equal(shown[:, ~editable], x[:, ~editable])
        assert not torch.equal(shown, x)
