"""HCLU on a Gaussian process: its constraints, and the shortest way on a grid."""

import pytest
import torch
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF, ConstantKernel

from holdfast.core.errors import NeedsError
from holdfast.core.goal import AwayFrom, ToClass
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.core.target import Gradient
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.hclu import HCLU
from holdfast.targets.gaussian_process import GaussianProcess
from tests.toys import LinearTarget

FREE = Budget("l2", torch.inf)


def blobs(space: Box | None = None) -> tuple[GaussianProcess, torch.Tensor]:
    """Two blobs in the unit square, a process that is sure about both, and rows of the left one."""
    rng = torch.Generator().manual_seed(0)
    spread = 0.06 * torch.randn(80, 2, generator=rng)
    x = torch.tensor([[0.3, 0.4], [0.65, 0.6]]).repeat(40, 1) + spread
    y = torch.tensor([0, 1]).repeat(40)
    kernel = ConstantKernel(100.0) * RBF(0.3)
    model = GaussianProcessClassifier(kernel, optimizer=None).fit(x.numpy(), y.numpy())
    return GaussianProcess(model, space or Box()), x[::2][:5]


def least(target: GaussianProcess, x: torch.Tensor) -> torch.Tensor:
    """Distance to the nearest point of a fine grid that meets both constraints; inf for none."""
    axis = torch.linspace(0, 1, 201)
    grid = torch.cartesian_prod(axis, axis)
    sure = target.scores(grid)[:, 1].exp() >= 0.95
    valid = sure & (target.uncertainty(grid) <= target.uncertainty(x).view(-1, 1))
    return torch.cdist(x, grid).masked_fill(~valid, torch.inf).amin(1)


class Careless(GaussianProcess):
    """The same process where uncertainty is no constraint."""

    def uncertainty(self, x):
        return torch.ones(len(x))

    def uncertainty_gradient(self, x):
        return Gradient(torch.zeros_like(x), torch.zeros(len(x)))


@pytest.mark.parametrize("targeted", [False, True])
def test_every_row_that_can_meet_the_constraints_does_and_by_the_least_change(
    targeted: bool,
) -> None:
    target, x = blobs()
    own, near = target.answer(x), least(*blobs())
    assert near.isfinite().sum() >= 3, "the problem is one that can be solved"
    goal = ToClass(1 - own) if targeted else AwayFrom(own)
    got = attack(HCLU(), target, x, goal, FREE, Run())
    assert torch.equal(got.success, near.isfinite())
    won = got.success
    chance = target.scores(got.x).exp().gather(1, (1 - own).view(-1, 1)).squeeze(1)
    assert (chance[won] >= 0.95 - 1e-4).all()
    assert (target.uncertainty(got.x) <= target.uncertainty(x) * (1 + 1e-3)).all()
    assert (got.distance[won] <= near[won] * 1.001).all()
    assert (got.distance[won] >= near[won] - 0.01).all()  # the grid's cells


def test_what_is_confident_but_less_certain_than_the_clean_row_is_no_find() -> None:
    """The second row lies where the process is surest: nowhere is it as sure of the other class."""
    target, x = blobs()
    x = x[1:2]
    goal = AwayFrom(target.answer(x))
    assert least(target, x).isinf().all()
    assert not attack(HCLU(), target, x, goal, FREE, Run()).success.any()
    free = attack(HCLU(), Careless(target.model), x, goal, FREE, Run())
    assert free.success.all()
    assert (target.uncertainty(free.x) > target.uncertainty(x)).all()


def test_a_frozen_feature_does_not_move() -> None:
    frozen = Box(editable=torch.tensor([True, False]))
    target, x = blobs()
    masked = Careless(target.model, frozen)
    got = attack(HCLU(confidence=0.6), masked, x, AwayFrom(target.answer(x)), FREE, Run())
    assert torch.equal(got.x[:, 1], x[:, 1])
    assert got.success.any()


def test_rows_that_are_surely_the_other_class_cost_one_look() -> None:
    target, x = blobs()
    goal = AwayFrom(1 - target.answer(x))
    got = attack(HCLU(confidence=0.6), target, x, goal, FREE, Run())
    assert got.success.all()
    assert (got.distance == 0).all()
    assert got.forwards == len(x)


def test_a_model_without_uncertainty_is_refused() -> None:
    target = LinearTarget.two_class(4)
    x = torch.full((1, 4), 0.7)
    with pytest.raises(NeedsError, match="uncertainty"):
        attack(HCLU(), target, x, AwayFrom(target.answer(x)), FREE, Run())
