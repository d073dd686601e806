"""Feature collision with linear features, where its fixed point is a ridge regression."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError
from holdfast.core.kinds import Aim
from holdfast.core.space import Box
from holdfast.core.target import Gradient
from holdfast.poisoning.attacks.feature_collision import FeatureCollision


@dataclass(frozen=True)
class LinearFeatures:
    """Features x W^T: (N, D) -> (N, F); the attack needs nothing else."""

    weight: Tensor
    space: Box

    def features(self, x: Tensor) -> Tensor:
        return x @ self.weight.T

    def feature_gradient(self, x: Tensor, loss) -> Gradient:
        x = x.detach().requires_grad_()
        features = self.features(x)
        (grad,) = torch.autograd.grad(loss(features).sum(), x)
        return Gradient(grad, features.detach())


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def problem(space: Box) -> tuple[LinearFeatures, Dataset, Tensor]:
    weight = torch.randn(3, 6, generator=rng(1))
    x = torch.rand(40, 6, generator=rng(2))
    data = Dataset("any", x, torch.arange(40) % 2, ("a", "b"))
    return LinearFeatures(weight, space), data, torch.rand(1, 6, generator=rng(3))


def test_the_poison_is_the_ridge_solution_of_algorithm_one() -> None:
    target, data, victim = problem(Box(-100.0, 100.0))
    aim = Aim(0.1, wanted=1, victims=victim)
    got = FeatureCollision(steps=800).poison(target, data, aim, rng())
    beta = 0.25 * (3 / 6) ** 2
    w = target.weight
    for row in got.rows:
        left = 2 * w.T @ w + beta * torch.eye(6)
        right = 2 * w.T @ w @ victim[0] + beta * data.x[row]
        expected = torch.linalg.solve(left, right)
        torch.testing.assert_close(got.data.x[row], expected, atol=1e-3, rtol=0)


def test_poison_collides_in_features_and_stays_near_its_base_within_the_box() -> None:
    target, data, victim = problem(Box())
    got = FeatureCollision().poison(target, data, Aim(0.1, wanted=1, victims=victim), rng())
    poison, base = got.data.x[got.rows], data.x[got.rows]
    goal = target.features(victim)
    before = (target.features(base) - goal).norm(dim=1)
    after = (target.features(poison) - goal).norm(dim=1)
    assert (after < 0.3 * before).all()
    assert ((poison - base).norm(dim=1) < (victim - base).norm(dim=1)).all()
    assert target.space.contains(poison).all()


def test_only_rows_of_the_wanted_class_change_and_all_labels_stay() -> None:
    target, data, victim = problem(Box())
    before = data.x.clone()
    got = FeatureCollision(steps=5).poison(target, data, Aim(0.15, wanted=1, victims=victim), rng())
    changed = (got.data.x != data.x).any(1).nonzero().flatten()
    assert set(changed.tolist()) == set(got.rows.tolist())
    assert len(got.rows) == 6
    assert (data.y[got.rows] == 1).all()
    assert torch.equal(got.data.y, data.y)
    assert torch.equal(data.x, before)


def test_several_victims_are_served_in_turn() -> None:
    target, data, _ = problem(Box(-100.0, 100.0))
    victims = torch.rand(2, 6, generator=rng(9)) * 5
    got = FeatureCollision(steps=500).poison(target, data, Aim(0.1, 1, victims=victims), rng())
    goal = target.features(victims)
    nearest = torch.cdist(target.features(got.data.x[got.rows]), goal).argmin(1)
    assert nearest.tolist() == [0, 1, 0, 1]


def test_an_aim_without_victims_is_refused() -> None:
    target, data, _ = problem(Box())
    with pytest.raises(InputError, match="victims"):
        FeatureCollision().poison(target, data, Aim(0.1, wanted=1), rng())
