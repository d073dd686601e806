"""DeepXplore on linear models whose region of disagreement is a known slab."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import Explored
from holdfast.core.run import Run
from holdfast.core.space import Box
from holdfast.core.target import Gradient
from holdfast.engine.explore import explore
from holdfast.engine.ledger import Ledger
from holdfast.targets.torch import TorchClassifier
from holdfast.trust.tests.deepxplore import DeepXplore, covers
from tests.toys import LinearTarget


def threshold(level: float, features: int = 4) -> TorchClassifier:
    """Class 1 exactly where the mean of the features is above `level`."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(features, 2))
    with torch.no_grad():
        w = torch.ones(features) / features
        module[1].weight.copy_(torch.stack([-w, w]))
        module[1].bias.copy_(torch.tensor([level, -level]))
    return TorchClassifier(module)


def seeds(*means: float, features: int = 4) -> Tensor:
    return torch.tensor(means)[:, None].expand(-1, features).clone()


def search(
    method: DeepXplore, target: object, peers: tuple, x: Tensor
) -> tuple[Explored, Explored]:
    return explore(method, target, peers, x, Run(), Ledger())


def test_it_finds_inputs_inside_the_slab_where_two_models_disagree() -> None:
    """Disagreement is exactly where the mean is between 0.5 and 0.6."""
    target, peer = threshold(0.6), threshold(0.5)
    x = seeds(0.3, 0.45, 0.7, 0.9)
    # models of equal slope cancel at lambda1 = 1, so the tested one is given the larger weight
    _, got = search(DeepXplore(lambda1=2.0, lambda2=0, steps=60), target, (peer,), x)
    assert sorted(got.rows.tolist()) == [0, 1, 2, 3]
    mean = got.x.mean(1)
    assert ((mean > 0.5) & (mean <= 0.6)).all()


def test_the_objective_pulls_the_tested_model_away_and_holds_the_others() -> None:
    """Two features: the target reads the first, the peer the second; only the first may change."""

    def reads(column: int) -> TorchClassifier:
        module = nn.Linear(2, 2)
        with torch.no_grad():
            module.weight.zero_()
            module.weight[1, column] = 1
            module.bias.copy_(torch.tensor([0.5, 0.0]))
        return TorchClassifier(module)

    x = torch.tensor([[0.6, 0.6], [0.7, 0.8]])
    _, got = search(DeepXplore(lambda2=0, step=0.02), reads(0), (reads(1),), x)
    assert got.rows.tolist() == [0, 1]
    assert (got.x[:, 0] < 0.5).all()
    assert (got.x[:, 1] > x[:, 1]).all()


def test_seeds_on_which_models_disagree_from_the_start_are_no_finds() -> None:
    target, peer = threshold(0.6), threshold(0.5)
    first, last = search(DeepXplore(steps=5), target, (peer,), seeds(0.55, 0.58))
    assert len(first.x) == len(last.x) == 0


def test_every_seed_is_found_once_and_stays_in_the_box() -> None:
    target, peer = threshold(0.6), threshold(0.5)
    x = torch.rand(30, 4, generator=torch.Generator().manual_seed(0))
    _, got = search(DeepXplore(lambda1=2.0, step=0.05), target, (peer,), x)
    assert len(got.rows.unique()) == len(got.rows) > 10
    assert target.space.contains(got.x).all()


def test_a_step_has_the_stated_size() -> None:
    target, peer = threshold(0.6), threshold(0.5)
    method = DeepXplore(lambda1=2.0, lambda2=0, step=0.03, steps=1)
    _, got = search(method, target, (peer,), seeds(0.48, 0.49))
    assert torch.allclose(got.x, seeds(0.51, 0.52), atol=1e-5)


def test_steps_are_in_units_of_the_scale() -> None:
    """The same models on columns of other ranges: finds are the same after rescaling."""
    scale = torch.tensor([1.0, 10.0, 0.1, 5.0])

    def stretched(level: float) -> TorchClassifier:
        plain = threshold(level)
        with torch.no_grad():
            plain.module[1].weight.div_(scale)
        return TorchClassifier(plain.module, Box(torch.zeros(4), scale, scale))

    x = torch.rand(20, 4, generator=torch.Generator().manual_seed(0))
    method = DeepXplore(lambda1=2.0, lambda2=0)
    _, plain = search(method, threshold(0.6), (threshold(0.5),), x)
    _, wide = search(method, stretched(0.6), (stretched(0.5),), x * scale)
    assert torch.equal(plain.rows, wide.rows)
    assert len(plain.rows) > 5
    assert torch.allclose(wide.x / scale, plain.x, atol=1e-5)


def test_light_moves_all_values_alike() -> None:
    """The two models read weighted means of the pixels; without the constraint those would lead."""

    def weighted(level: float) -> TorchClassifier:
        target = threshold(level, 64)
        with torch.no_grad():
            target.module[1].weight.mul_(torch.linspace(0.2, 1.8, 64))
        return target

    rng = torch.Generator().manual_seed(1)
    x = torch.linspace(0.1, 0.7, 30).view(-1, 1, 1, 1) + 0.1 * torch.rand(
        30, 1, 8, 8, generator=rng
    )
    for constraint, alike in (("light", True), ("none", False)):
        method = DeepXplore(constraint=constraint, lambda1=2.0, lambda2=0, step=0.02)
        _, got = search(method, weighted(0.6), (weighted(0.5),), x)
        change = (got.x - x[got.rows]).flatten(1)
        assert len(change) > 10
        assert (change.abs().mean(1) > 0.015).all()
        assert bool((change.std(1) < 1e-5).all()) == alike


def test_units_are_scaled_within_one_input_before_the_threshold() -> None:
    h = torch.tensor([[0.0, 5.0, 10.0], [-1.0, -0.4, 0.0], [2.0, 2.0, 2.0]])
    assert covers(h, 0.5).tolist() == [
        [False, False, True], [False, True, True], [False, False, False],
    ]  # fmt: skip
    assert covers(h, 0.49)[0].tolist() == [False, True, True]


@dataclass(frozen=True)
class Shown(LinearTarget):
    """A linear model that shows its input as its features."""

    space: Box = field(default_factory=Box)

    def features(self, x: Tensor) -> Tensor:
        return x

    def feature_gradient(self, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Gradient:
        x = x.detach().requires_grad_()
        (grad,) = torch.autograd.grad(loss(x).sum(), x)
        return Gradient(grad, x.detach())


def identity(level: float) -> Shown:
    plain = LinearTarget.two_class(4)
    return Shown(plain.weight, plain.bias + torch.tensor([level - 0.5, 0.5 - level]))


def test_coverage_is_counted_over_seeds_then_over_finds_too() -> None:
    x = torch.tensor([[0.5, 0.1, 0.1, 0.1], [0.6, 0.5, 0.2, 0.2]])  # units 0, and 0 and 1
    method = DeepXplore(lambda1=2.0, lambda2=1, threshold=0.7, steps=60)
    first, last = search(method, identity(0.42), (identity(0.5),), x)
    assert (first.coverage, first.units, len(first.x)) == (0.5, 4, 0)
    assert sorted(last.rows.tolist()) == [0, 1]
    finds = covers(last.x, 0.7).any(0)
    assert finds[2:].any()
    assert last.coverage == float((finds | torch.tensor([True, True, False, False])).float().mean())


def test_the_coverage_term_raises_a_unit_that_no_seed_covers() -> None:
    """Without differences to seek, only an uncovered unit (2 or 3) may be what rises."""
    x = torch.tensor([[0.9, 0.8, 0.1, 0.1]])
    peer = identity(0.5)
    method = DeepXplore(lambda1=1.0, lambda2=1000.0, threshold=0.7, step=0.01, steps=60)
    _, got = search(method, identity(0.55), (peer,), x)
    change = got.x[0] - x[0]
    assert change[2:].max() > 0.05
    assert change[:2].abs().max() < 0.01


def test_peers_need_gradients_and_light_needs_images() -> None:
    target = threshold(0.6)
    with pytest.raises(NotApplicable, match="gradients"):
        search(DeepXplore(), target, (), seeds(0.3))

    class OnlyScores:
        space = Box()
        scores = staticmethod(target.scores)
        decode = staticmethod(target.decode)
        answer = staticmethod(target.answer)

    with pytest.raises(NotApplicable, match="gradients"):
        search(DeepXplore(), target, (OnlyScores(),), seeds(0.3))
    with pytest.raises(NotApplicable, match="light"):
        search(DeepXplore(constraint="light"), target, (threshold(0.5),), seeds(0.3))
