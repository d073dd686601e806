"""Trust region attack against linear models, whose smallest change is known exactly."""

import pytest
import torch

from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.trust_region import TrustRegion
from tests.oracles import check_masked, check_minimum, check_targeted, problem, two_class
from tests.toys import LinearTarget

NORMS = pytest.mark.parametrize("norm", ["linf", "l2"])


@NORMS
def test_trust_region_finds_the_smallest_change(norm: str) -> None:
    check_minimum(TrustRegion(), norm, *problem())
    check_minimum(TrustRegion(), norm, *two_class((2, 3, 4)))


@NORMS
def test_trust_region_reaches_a_wanted_class_and_spares_frozen_features(norm: str) -> None:
    check_targeted(TrustRegion(), norm, slack=0.01)
    check_masked(TrustRegion(), norm, slack=0.01)


def sizes(method: TrustRegion, target: LinearTarget, x: torch.Tensor, steps: int) -> list[float]:
    """How far it has gone in its first steps."""
    search = method.run(
        target, x, AwayFrom(target.answer(x)), Budget("l2", torch.inf),
        torch.Generator().manual_seed(0),
    )  # fmt: skip
    return [target.space.distance(next(search).x, x, "l2").item() for _ in range(steps)]


def test_where_the_linear_model_holds_the_radius_grows_by_the_factor_up_to_its_bound() -> None:
    target = LinearTarget.two_class(4)
    x = torch.full((1, 4), 0.9)
    moved = torch.tensor(sizes(TrustRegion(radius=0.01, overshoot=1.0), target, x, 14)).diff()
    wanted = torch.tensor([min(0.01 * 1.2**i, 0.05) for i in range(13)]) + 1e-4
    assert torch.allclose(moved, wanted, atol=1e-5)


def test_where_the_linear_model_fails_the_radius_shrinks() -> None:
    method = TrustRegion()
    radius, ratio = torch.full((3,), 0.02), torch.tensor([0.2, 0.7, 1.0])
    assert torch.allclose(
        method._radius(radius, ratio, "l2"), torch.tensor([0.02 / 1.2, 0.02, 0.024])
    )


def test_the_rival_is_the_one_with_the_nearest_boundary_not_the_best_score() -> None:
    """Class 1 scores better, but class 2 rises ten times as fast."""
    weight = torch.tensor([[0.0, 0.1, 0.0], [0.0, 0.0, 1.0]])
    target = LinearTarget(weight, torch.tensor([0.35, 0.15, -0.3]))
    x = torch.full((1, 2), 0.5)
    got = attack(
        TrustRegion(), target, x, AwayFrom(target.answer(x)), Budget("l2", torch.inf), Run()
    )
    assert got.distance.item() == pytest.approx(0.15, rel=5e-3)
    assert target.answer(got.x).item() == 2


def test_rows_that_have_fallen_rest() -> None:
    target = LinearTarget.two_class(4)
    x = torch.cat([torch.full((9, 4), 0.505), torch.full((1, 4), 0.9)])
    goal, budget = AwayFrom(target.answer(x)), Budget("l2", torch.inf)
    got = attack(TrustRegion(final_steps=0), target, x, goal, budget, Run())
    assert got.success.all()
    assert got.backwards < 9 * 15 + 50
