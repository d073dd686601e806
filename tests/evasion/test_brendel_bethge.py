"""Brendel-Bethge against linear models, whose smallest adversarial change is known exactly."""

import pytest
import torch

from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.brendel_bethge import BrendelBethge, _blend
from holdfast.ops import balls
from tests.oracles import check_masked, check_minimum, check_targeted, two_class
from tests.toys import LinearTarget

NORMS = pytest.mark.parametrize("norm", ["l2", "linf", "l1"])


@NORMS
def test_brendel_bethge_finds_the_smallest_change_in_few_of_its_steps(norm: str) -> None:
    check_minimum(BrendelBethge(steps=25), norm, *two_class((2, 3, 4), n=4))


@NORMS
def test_the_walk_itself_comes_close_without_the_last_steps(norm: str) -> None:
    method = BrendelBethge(steps=40, decays=5, final_steps=0)
    check_minimum(method, norm, *two_class(n=3), slack=0.01)


def test_brendel_bethge_changes_the_fewest_features() -> None:
    check_minimum(BrendelBethge(steps=20), "l0", *two_class((64,), n=4, spread=0.9))


@NORMS
def test_brendel_bethge_reaches_a_wanted_class_and_spares_frozen_features(norm: str) -> None:
    check_targeted(BrendelBethge(steps=10), norm, slack=0.01)
    check_masked(BrendelBethge(steps=10), norm, slack=0.01)


def proposals(method: BrendelBethge, target: LinearTarget, x: torch.Tensor, count: int):
    search = method.run(
        target, x, AwayFrom(target.answer(x)), Budget("l2", torch.inf),
        torch.Generator().manual_seed(0),
    )  # fmt: skip
    return torch.stack([next(search).x for _ in range(count)])


def test_the_walk_begins_at_the_boundary_between_a_misread_draw_and_the_clean_input() -> None:
    target = LinearTarget.two_class(4)
    x = torch.full((2, 4), 0.55)
    points = proposals(BrendelBethge(draws=20, blends=6), target, x, 25)
    start = points[-1]
    assert not torch.equal(start, x)
    assert (target.answer(start) != target.answer(x)).all()
    assert torch.allclose(start.mean(1), torch.tensor(0.5), atol=2e-3)


def test_without_a_misread_draw_it_walks_from_the_clean_input_by_the_radius() -> None:
    target = LinearTarget.two_class(4)
    x = torch.full((1, 4), 0.9)
    points = proposals(BrendelBethge(draws=0, blends=0, rate=0.02), target, x, 12)
    moved = (points[1:] - x).norm(dim=-1).flatten()
    assert torch.allclose(moved, 0.01 * 4 * torch.arange(11.0), atol=1e-5)


def test_after_a_hit_it_goes_back_to_where_a_tenth_of_the_margin_is_left() -> None:
    target = LinearTarget(torch.tensor([[1.0, -1.0]]), torch.tensor([-0.5, 0.5]))
    x = torch.tensor([[0.9]])
    method = BrendelBethge(draws=0, blends=0, rate=0.42)
    margins = (1 - 2 * proposals(method, target, x, 5)).flatten()  # of the clean start twice
    assert margins.tolist() == pytest.approx([-0.8, -0.8, 0.04, 0.004, 0.0004], abs=1e-5)


def test_blends_run_from_the_clean_input_to_the_draw() -> None:
    delta = torch.tensor([[0.6, -0.3, 0.1]])
    for norm in ("l2", "linf", "l1", "l0"):
        whole = _blend(delta, torch.ones(1), Budget(norm, torch.inf))
        half = _blend(delta, torch.tensor([0.5]), Budget(norm, torch.inf))
        none = _blend(delta, torch.zeros(1), Budget(norm, torch.inf))
        assert torch.allclose(whole, delta)
        assert (none == 0).all()
        assert balls.size(half, "l1") < balls.size(delta, "l1")
    assert torch.allclose(
        _blend(delta, torch.tensor([0.5]), Budget("linf", 1)), torch.tensor([[0.3, -0.3, 0.1]])
    )


def test_a_flat_model_stands() -> None:
    flat = LinearTarget(torch.zeros(5, 3), torch.tensor([1.0, 0.0, 0.0]))
    x = torch.full((2, 5), 0.5)
    goal, budget = AwayFrom(flat.answer(x)), Budget("l2", torch.inf)
    got = attack(BrendelBethge(steps=3), flat, x, goal, budget, Run())
    assert not got.success.any()
    assert torch.equal(got.x, x)
