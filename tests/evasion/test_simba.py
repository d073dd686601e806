"""SimBA: its directions, its steps by hand, and linear models."""

import pytest
import torch

from holdfast.core.errors import NotApplicable
from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.simba import SimBA
from tests.black_box import check_beats_noise, check_counted, check_done_rows_are_free
from tests.oracles import check_fixed, check_masked, check_targeted, two_class
from tests.toys import LinearTarget


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("basis", ["pixel", "dct"])
def test_directions_are_orthonormal_and_each_is_used_once(basis: str) -> None:
    method = SimBA(basis=basis)
    order, count = method._order(torch.ones(2, 6, 6), 3, generator())
    assert count == 72
    assert all(sorted(row) == list(range(72)) for row in order.tolist())
    assert not torch.equal(order[0], order[1])
    ways = method._direction(torch.zeros(72, 2, 6, 6), torch.arange(72)).flatten(1)
    assert torch.allclose(ways @ ways.T, torch.eye(72), atol=1e-5)


def test_cosines_are_those_of_low_frequency() -> None:
    order, count = SimBA(basis="dct")._order(torch.ones(3, 80, 96), 1, generator())
    assert count == 3 * 10 * 12
    assert int((order % (80 * 96) // 96).max()) == 9
    assert int((order % 96).max()) == 11


def test_one_pass_moves_every_feature_by_one_step_the_right_way() -> None:
    """By hand: on a linear model each feature ends one step along the sign of its weight."""
    target, x = two_class((10,), n=4)
    own, step = target.answer(x), 1e-3
    method = SimBA(steps=10, step_size=step)
    budget, log = Budget("l2", 1.0), [x]
    search = method.run(target, x, AwayFrom(own), budget, generator())
    log += [candidate.x for candidate in search]
    slope = target.weight[:, 1] - target.weight[:, 0]
    way = torch.where(own == 0, 1.0, -1.0).view(-1, 1) * slope.sign()
    assert torch.allclose(log[-1] - x, step * way, atol=1e-6)
    assert torch.allclose((log[5] - x).norm(dim=1), torch.full((4,), step * 2), atol=1e-6)


def test_the_other_sign_is_asked_for_only_where_the_first_did_not_help() -> None:
    """The features whose weight points the right way cost two queries, the others one."""
    target, x = two_class((10,), n=1)
    own = target.answer(x)
    slope = (target.weight[:, 1] - target.weight[:, 0]) * (1 if own == 0 else -1)
    got = attack(
        SimBA(steps=10, step_size=1e-4), target, x, AwayFrom(own), Budget("l2", 1.0), Run()
    )
    assert got.forwards == 1 + int((slope < 0).sum()) + 2 * int((slope > 0).sum())


@pytest.mark.parametrize("shape", [(24,), (2, 3, 3)])
def test_a_linear_model_falls_as_soon_as_its_boundary_is_inside_the_linf_ball(
    shape: tuple[int, ...],
) -> None:
    target, x = two_class(shape)
    check_fixed(SimBA(steps=60), "linf", target, x)


@pytest.mark.parametrize("basis", ["pixel", "dct"])
def test_passes_over_an_orthonormal_basis_find_the_nearest_boundary_in_l2(basis: str) -> None:
    """Steps projected onto the sphere are coordinate ascent, whose only maximum is the weight."""
    target, x = two_class((1, 4, 4), n=8)
    check_fixed(SimBA(steps=320, step_size=0.02, basis=basis), "l2", target, x, slack=0.15)


def test_a_model_that_is_sure_of_itself_is_no_safer() -> None:
    """Its cross-entropy is rounded to zero at every input: only log-odds show the way."""
    target, x = two_class((12,))
    sure = LinearTarget(1000 * target.weight, 1000 * target.bias)
    assert (AwayFrom(sure.answer(x)).loss(sure.scores(x)) == 0).any()
    check_fixed(SimBA(steps=40), "linf", sure, x)


def test_towards_a_class_under_a_mask_and_counted() -> None:
    check_targeted(SimBA(steps=60), "linf")
    check_masked(SimBA(steps=60), "linf")
    check_masked(SimBA(steps=100, basis="dct"), "linf", slack=0.6, shape=(1, 5, 5))
    check_counted(SimBA(steps=20), "l2")
    check_counted(SimBA(steps=20, basis="dct"), "linf", shape=(1, 3, 3))
    check_done_rows_are_free(SimBA(), "l2")


def test_a_step_that_changes_nothing_is_not_asked_for() -> None:
    target = LinearTarget.two_class(4)
    x = torch.zeros(1, 4)  # at the corner of the box that is farthest from the boundary
    goal = AwayFrom(target.answer(x))
    got = attack(SimBA(steps=4, step_size=0.1), target, x, goal, Budget("linf", 0.1), Run())
    assert got.forwards == 1 + 4


def test_cosines_need_images() -> None:
    target, x = two_class((8,))
    with pytest.raises(NotApplicable, match="images"):
        attack(SimBA(basis="dct"), target, x, AwayFrom(target.answer(x)), Budget("l2", 1.0), Run())


@pytest.mark.parametrize(
    ("basis", "norm", "eps"), [("pixel", "l2", 1.2), ("dct", "l2", 1.2), ("pixel", "linf", 0.15)]
)
def test_digits_fall_that_noise_of_the_same_size_leaves(
    digit_target, digits, basis: str, norm: str, eps: float
) -> None:
    check_beats_noise(SimBA(steps=150, basis=basis), digit_target, digits[1], norm, eps)


def test_it_ends_where_a_whole_pass_was_of_no_use() -> None:
    """Steps as large as the ball reach its best corner in one pass, and a second one finds no more."""
    target, x = two_class((6,), n=3)
    goal, eps = AwayFrom(target.answer(x)), target.distance(x, "linf") / 2
    search = SimBA(step_size=1.0).run(target, x, goal, Budget("linf", eps), generator())
    assert len(list(search)) == 1 + 2 * 6
