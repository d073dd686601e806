"""Score-based random walk: what it keeps, its step, its queries, and linear models."""

import pytest
import torch

from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.random_walk import RandomWalk
from holdfast.evasion.attacks.simba import SimBA
from holdfast.evasion.scored import odds
from tests.black_box import check_beats_noise, check_counted, check_done_rows_are_free
from tests.oracles import check_fixed, check_masked, check_targeted, two_class
from tests.toys import LinearTarget


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_every_proposal_starts_where_the_loss_was_largest_so_far() -> None:
    """In L2 the distance of a proposal from the best point is its step, which follows the rule."""
    target, x = two_class((10,), n=3)
    goal, eps = AwayFrom(target.answer(x)), 1.0
    best, step = x, torch.full((3,), 0.05)
    method = RandomWalk(steps=30, step_size=0.05)
    proposals = list(method.run(target, x, goal, Budget("l2", eps), generator()))[1:]
    for proposal in proposals:
        inside = (best - x).norm(dim=1) + step < eps  # elsewhere the ball cut the step
        size = (proposal.x - best).norm(dim=1)
        free = inside & (proposal.x > 0).all(1) & (proposal.x < 1).all(1)
        assert torch.allclose(size[free], step[free] * eps, rtol=1e-3)
        better = odds(goal, target.scores(proposal.x)) > odds(goal, target.scores(best))
        best = torch.where(better.view(-1, 1), proposal.x, best)
        step = torch.where(better, step * 1.5, step / 1.5**0.25).clamp(1e-3, 1.0)
    assert (odds(goal, target.scores(best)) > odds(goal, target.scores(x))).all()


def test_the_step_shrinks_to_its_least_where_nothing_helps() -> None:
    flat = LinearTarget(torch.zeros(6, 2), torch.tensor([1.0, 0.0]))
    x = torch.full((2, 6), 0.5)
    goal = AwayFrom(torch.zeros(2, dtype=torch.long))
    proposals = list(RandomWalk(steps=80).run(flat, x, goal, Budget("l2", 0.1), generator()))
    sizes = [float((p.x - x).norm(dim=1)[0]) for p in proposals[1:]]
    assert sizes[0] == pytest.approx(0.02, rel=1e-3)
    assert sizes[4] == pytest.approx(0.02 / 1.5, rel=1e-3)
    assert sizes[-1] == pytest.approx(1e-4, rel=1e-2)


def test_linf_proposals_move_some_features_alike() -> None:
    noise = RandomWalk()._draw(torch.zeros(4000, 16), "linf", generator())
    count = (noise != 0).sum(1)
    assert int(count.min()) >= 1
    assert int(count.max()) == 16
    assert 0.1 < float((count == 1).float().mean()) < 0.6


@pytest.mark.parametrize(("norm", "slack"), [("linf", 0.2), ("l2", 0.05)])
def test_a_linear_model_falls_near_its_closed_form_distance(norm: str, slack: float) -> None:
    """In Linf the walk is slow in the last corner: a fifth more is needed with 400 queries."""
    target, x = two_class((12,))
    check_fixed(RandomWalk(steps=400), norm, target, x, slack=slack)


def test_towards_a_class_and_under_a_mask() -> None:
    check_targeted(RandomWalk(steps=400), "l2", slack=0.1, shape=(12,))
    check_masked(RandomWalk(steps=400), "l2", slack=0.1, shape=(12,))
    check_masked(RandomWalk(steps=400), "linf", slack=0.25, shape=(12,))


def test_one_query_per_step() -> None:
    assert check_counted(RandomWalk(steps=9), "linf").forwards == 5 * (1 + 9)
    check_done_rows_are_free(RandomWalk(), "l2")


def test_an_orthonormal_basis_needs_fewer_queries_than_the_walk() -> None:
    target, x = two_class((24,))
    goal = AwayFrom(target.answer(x))
    budget = Budget("linf", 1.1 * target.distance(x, "linf"))
    walk, basis = (
        attack(method, target, x, goal, budget, Run())
        for method in (RandomWalk(steps=200), SimBA(steps=100))
    )
    assert basis.success.all()
    assert basis.forwards < walk.forwards / 3


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.2), ("l2", 1.2)])
def test_digits_fall_that_noise_of_the_same_size_leaves(
    digit_target, digits, norm: str, eps: float
) -> None:
    check_beats_noise(RandomWalk(steps=400), digit_target, digits[1], norm, eps)
