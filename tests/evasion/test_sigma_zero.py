"""Sigma-zero against linear models, where the fewest features to change are known exactly."""

import pytest
import torch

from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.sigma_zero import SigmaZero
from tests.oracles import check_masked, check_minimum, check_targeted, two_class
from tests.toys import LinearTarget


def test_sigma_zero_changes_the_fewest_features_with_its_defaults() -> None:
    check_minimum(SigmaZero(), "l0", *two_class((64,), n=4, spread=0.9))


def test_a_fifth_of_the_steps_does_as_well_on_images() -> None:
    check_minimum(SigmaZero(steps=200), "l0", *two_class((1, 8, 8), spread=0.9))


def test_sigma_zero_reaches_a_wanted_class_and_spares_frozen_features() -> None:
    check_targeted(SigmaZero(steps=200), "l0", slack=0.01, shape=(64,))
    check_masked(SigmaZero(steps=200), "l0", slack=0.01, shape=(64,))


def test_the_gradient_of_the_smooth_count_is_its_finite_difference() -> None:
    sigma, h = 1e-3, 1e-6
    method = SigmaZero(sigma=sigma)
    delta = torch.tensor([[0.0, 0.01, -0.03, 0.5]], dtype=torch.float64)

    def count(d: torch.Tensor) -> torch.Tensor:
        return (d.square() / (d.square() + sigma)).mean(1)

    for i in range(4):
        ahead, behind = delta.clone(), delta.clone()
        ahead[0, i] += h
        behind[0, i] -= h
        slope = (count(ahead) - count(behind)) / (2 * h)
        assert method._sparsity(delta)[0, i].item() == pytest.approx(slope.item(), abs=1e-6)


def test_the_first_step_is_of_full_size_and_small_changes_are_dropped() -> None:
    """Adam's first step has size eta everywhere; only changes of at least tau survive."""
    target = LinearTarget.two_class(4)
    x = torch.tensor([[0.9, 0.8, 0.25, 0.9]])  # the third feature can fall by 0.25 only
    search = SigmaZero().run(
        target, x, AwayFrom(target.answer(x)), Budget("l0", torch.inf),
        torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert torch.equal(next(search).x, x)
    assert torch.equal(next(search).x, torch.tensor([[0.0, 0.0, 0.25, 0.0]]))


def test_unchanged_features_are_exactly_the_clean_ones() -> None:
    target, x = two_class((64,), n=8, spread=0.9)
    goal, budget = AwayFrom(target.answer(x)), Budget("l0", torch.inf)
    got = attack(SigmaZero(steps=50), target, x, goal, budget, Run())
    assert torch.equal((got.x != x).sum(1).float(), got.distance)
    assert (got.distance < 20).all()


def _iterates(method: SigmaZero) -> list[tuple[torch.Tensor, bool]]:
    """Change and success of every iterate on one linear problem."""
    target, x = two_class((64,), n=1, spread=0.9)
    goal, budget = AwayFrom(target.answer(x)), Budget("l0", torch.inf)
    search = method.run(target, x, goal, budget, torch.Generator().manual_seed(0))
    return [(one.x - x, bool(one.degree >= 1)) for one in search]


def test_the_second_half_begins_anew_from_the_nearest_hit_with_half_the_step() -> None:
    told = _iterates(SigmaZero(steps=60, restart=15))
    for start in (30, 45):
        hits = [change for change, hit in told[:start] if hit]
        least = min(int((change != 0).sum()) for change in hits)
        nearest = next(change for change in hits if int((change != 0).sum()) == least)
        assert torch.allclose(told[start][0], nearest, atol=1e-6)
        moved = (told[start + 1][0] - told[start][0]).abs()  # Adam's first step, clipped to the box
        kept = (told[start + 1][0] != 0) & (told[start][0] != 0)
        assert moved[kept].max() <= 0.5 + 1e-6


def test_without_restarts_it_is_the_papers_own_schedule() -> None:
    method = SigmaZero(steps=40, restart=0)
    assert [method._rate(step) for step in (0, 20, 40)] == pytest.approx([1.0, 0.55, 0.1])
    assert len(_iterates(method)) == 40
