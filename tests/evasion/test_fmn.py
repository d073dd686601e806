"""FMN against linear models, whose smallest adversarial change is known exactly."""

import pytest
import torch

from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.fmn import FMN
from tests.oracles import check_masked, check_minimum, check_targeted, problem, two_class
from tests.toys import LinearTarget

NORMS = pytest.mark.parametrize("norm", ["linf", "l2", "l1"])


@NORMS
def test_fmn_finds_the_smallest_change_in_a_fifth_of_its_steps(norm: str) -> None:
    check_minimum(FMN(steps=200), norm, *two_class())


def test_fmn_finds_the_smallest_change_with_its_defaults() -> None:
    check_minimum(FMN(), "l2", *two_class((1, 4, 4), n=4))


def test_fmn_changes_the_fewest_features_also_among_three_classes() -> None:
    check_minimum(FMN(steps=100), "l0", *two_class((64,), spread=0.9))
    check_minimum(FMN(steps=100), "l0", *problem((64,), spread=0.9))


@NORMS
def test_fmn_reaches_a_wanted_class_and_spares_frozen_features(norm: str) -> None:
    check_targeted(FMN(steps=100), norm, slack=0.01)
    check_masked(FMN(steps=100), norm, slack=0.01)


def test_the_same_with_few_features() -> None:
    check_targeted(FMN(steps=100), "l0", slack=0.01, shape=(64,))
    check_masked(FMN(steps=100), "l0", slack=0.01, shape=(64,))


def radii(norm: str, x: torch.Tensor, target: LinearTarget, steps: int, **settings: float):
    """Size of the changes that it proposes first."""
    search = FMN(**settings).run(
        target, x, AwayFrom(target.answer(x)), Budget(norm, torch.inf),
        torch.Generator().manual_seed(0),
    )  # fmt: skip
    return [target.space.distance(next(search).x, x, norm).item() for _ in range(steps)]


@NORMS
def test_the_first_radius_is_the_distance_that_a_linear_model_has(norm: str) -> None:
    target, x = two_class(n=1)
    first = radii(norm, x, target, 2)
    assert first[0] == 0
    assert first[1] == pytest.approx(target.distance(x, norm).item(), rel=1e-4)


def test_after_a_hit_the_radius_shrinks_by_gamma_and_after_a_miss_it_grows() -> None:
    target = LinearTarget(torch.tensor([[1.0, -1.0]]), torch.tensor([-0.5, 0.5]))
    x = torch.tensor([[0.7000001]])
    sizes = radii("l2", x, target, 4, gamma=0.1, last_gamma=0.1)
    boundary = sizes[1]
    assert boundary == pytest.approx(0.2, rel=1e-4)
    hit = bool(target.answer(x - boundary) != target.answer(x))
    second = boundary * (0.9 if hit else 1.1)
    assert sizes[2] == pytest.approx(second, rel=1e-4)
    assert sizes[3] == pytest.approx(second * (1.1 if hit else 0.9), rel=1e-4)


def test_a_count_of_features_moves_by_at_least_one() -> None:
    target = LinearTarget.two_class(10)
    sizes = radii("l0", torch.full((1, 10), 0.6), target, 5)
    assert sizes == [0, 1, 2, 3, 2]


def test_points_inside_the_ball_stay_inside_so_that_directions_can_turn() -> None:
    """A projection that always lands on the sphere could not give changes below the radius."""
    target = LinearTarget.two_class(10)
    x = torch.full((1, 10), 0.9)
    sizes = radii("l2", x, target, 3, step_size=0.01, last_step=0.01)
    assert sizes[1] == pytest.approx(0.01, rel=1e-4)
    assert sizes[2] == pytest.approx(0.02, rel=1e-4)


def test_unchanged_features_are_exactly_the_clean_ones() -> None:
    target, x = two_class((64,), n=8, spread=0.9)
    goal, budget = AwayFrom(target.answer(x)), Budget("l0", torch.inf)
    got = attack(FMN(steps=50), target, x, goal, budget, Run())
    assert torch.equal((got.x != x).sum(1).float(), got.distance)
    assert (got.distance < 20).all()
