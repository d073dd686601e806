"""LeafTuple against the exact minimum over all cells of small ensembles."""

from dataclasses import replace

import pytest
import torch

from holdfast.core.goal import AwayFrom, ToClass
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.leaf_tuple import LeafTuple
from holdfast.ops.balls import Norm
from holdfast.ops.trees import CLEAR, Judge, descend
from tests.evasion.trees import among, by_hand, exact, fitted, on_a_table


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize(
    ("kind", "classes"), [("forest", 2), ("forest", 3), ("boosting", 2), ("boosting", 3)]
)
def test_every_row_falls_near_the_exact_minimum_and_never_below_it(
    kind: str, classes: int, norm: Norm
) -> None:
    target, x = fitted(kind, classes)
    goal = AwayFrom(target.answer(x))
    got = attack(LeafTuple(), target, x, goal, Budget(norm, torch.inf), Run())
    far = exact(target, x, goal, norm)
    assert torch.equal(got.success, far.isfinite())
    ratio = (got.distance / far)[far > 1e-4]
    assert (got.distance >= far * (1 - 1e-4) - 1e-6).all()
    assert float(ratio.mean()) < (1.15 if norm == "linf" else 1.1)
    assert got.forwards == 2 * len(x)


def test_one_swap_of_one_leaf_at_a_time_by_hand() -> None:
    """With one tree every leaf is a neighbour, so one step gives the nearest leaf of the class."""
    target, x = by_hand(), torch.tensor([[0.48, 0.3], [0.1, 0.5]])
    trees, goal = target.ensemble, AwayFrom(torch.tensor([0, 0]))
    start = torch.tensor([[0.1, 0.9], [0.9, 0.9]])
    domain = (torch.zeros(2, 2), torch.ones(2, 2))

    def reached(sums, rows):
        return goal.take(rows).margin(sums) > CLEAR

    ends = descend(trees, x, start, domain, Judge(reached, lambda d: d.abs().amax(1)))
    torch.testing.assert_close(ends, torch.tensor([[0.5, 0.3], [0.1, 0.6]]), atol=1e-5, rtol=0)
    assert (target.answer(ends) == 1).all()


def test_the_descent_ends_where_no_swap_of_a_leaf_is_nearer() -> None:
    """Every neighbour of where it ends, found by trying all points of all cells, is no nearer."""
    target, x = fitted("forest", 2)
    goal = AwayFrom(target.answer(x))
    got = attack(LeafTuple(starts=2), target, x, goal, Budget("l2", torch.inf), Run())
    trees = target.ensemble
    home = trees.place[trees.leaves(got.x)]
    rng = torch.Generator().manual_seed(0)
    mix = torch.rand(4000, 3, generator=rng)
    for i in range(10):
        # points nearer to x than where the descent ended, inside of the box or on its way
        near = x[i] + (2 * mix - 1) * (got.x[i] - x[i]).abs() * 1.5
        near = target.space.clamp(near)
        closer = target.space.distance(near, x[i : i + 1], "l2") < got.distance[i] * (1 - 1e-4)
        swaps = (trees.place[trees.leaves(near)] != home[i]).sum(1)
        hit = goal.take(torch.full((len(near),), i)).margin(trees.sums(near)) > CLEAR
        assert not (closer & (swaps <= 1) & hit).any()


def test_more_starts_never_do_worse() -> None:
    target, x = fitted("boosting", 3, features=5)
    goal, budget = AwayFrom(target.answer(x)), Budget("l2", torch.inf)
    few, many = (
        attack(LeafTuple(starts=n), target, x, goal, budget, Run()).distance.mean() for n in (1, 20)
    )
    assert many < few


def test_a_targeted_run_a_mask_and_a_finite_budget() -> None:
    target, x = fitted("forest", 3)
    goal = ToClass((target.answer(x) + 1) % 3)
    got = attack(LeafTuple(), target, x, goal, Budget("l1", torch.inf), Run())
    far = exact(target, x, goal, "l1")
    assert torch.equal(got.success, far.isfinite())
    assert float((got.distance / far).mean()) < 1.1
    masked = replace(
        target, space=replace(target.space, editable=torch.tensor([True, False, True]))
    )
    away = AwayFrom(target.answer(x))
    held = attack(LeafTuple(), masked, x, away, Budget("linf", torch.inf), Run())
    least = exact(masked, x, away, "linf")
    assert torch.equal(held.x[:, 1], x[:, 1])
    assert (held.success <= least.isfinite()).all()
    assert held.success.sum() >= 0.95 * least.isfinite().sum()
    room = exact(target, x, away, "linf")
    within = attack(LeafTuple(), target, x, away, Budget("linf", 1.2 * room), Run())
    assert (within.distance <= 1.2 * room * 1.0001 + 1e-7).all()
    assert within.success.float().mean() > 0.8
    inside = attack(LeafTuple(), target, x, away, Budget("linf", 0.9 * room), Run())
    assert not inside.success.any()


def test_it_repeats_itself_and_works_on_no_rows_and_on_one() -> None:
    target, x = fitted("forest", 2)
    goal, budget = AwayFrom(target.answer(x)), Budget("l2", torch.inf)
    first, again = (attack(LeafTuple(), target, x, goal, budget, Run()) for _ in range(2))
    assert torch.equal(first.x, again.x)
    assert len(attack(LeafTuple(), target, x[:0], goal.take(torch.arange(0)), budget, Run()).x) == 0
    one = attack(LeafTuple(), target, x[:1], goal.take(torch.arange(1)), budget, Run())
    assert one.success.all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_on_a_table_it_counts_valid_rows_only(norm: Norm) -> None:
    target, space, x, every = on_a_table(60)
    goal, far = AwayFrom(target.answer(x)), among(target, space, x, every, norm)
    got = attack(LeafTuple(), target, x, goal, Budget(norm, torch.inf), Run())
    assert not torch.stack(list(space.violations(got.x, x).values())).any()
    assert torch.equal(got.success, far.isfinite())
    ratio = got.distance / far
    assert (ratio > 1 - 1e-5).all()
    assert float(ratio.mean()) < 1.15
