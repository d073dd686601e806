"""Moving brightness on linear models, where a linear program knows the best way to move it."""

from dataclasses import replace

import pytest
import torch
from scipy.optimize import linprog
from scipy.sparse import lil_matrix

from holdfast.core.errors import InputError, NotApplicable
from holdfast.core.goal import AwayFrom, ToClass
from holdfast.core.record import ThreatModel
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.engine.case import Case
from holdfast.engine.curve import assess
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.wasserstein import Wasserstein
from tests.ops.test_transport import exact
from tests.toys import LinearTarget

FREE = Budget("any", 0.0)


def most(x: torch.Tensor, way: torch.Tensor, radius: float, reach: int = 2) -> float:
    """Largest growth of <way, image> when brightness moves within the radius and [0, 1]."""
    side = x.shape[-1]
    span = range(-reach, reach + 1)
    moves = [
        (i * side + j, (i + a) * side + j + b, (a * a + b * b) ** 0.5)
        for i in range(side) for j in range(side) for a in span for b in span
        if (a, b) != (0, 0) and 0 <= i + a < side and 0 <= j + b < side
    ]  # fmt: skip
    flat, value, n = x.flatten().double(), way.flatten().double(), side * side
    limits = lil_matrix((2 * n + 1, len(moves)))
    for k, (source, end, cost) in enumerate(moves):
        limits[source, k], limits[n + source, k], limits[n + end, k] = 1, -1, 1
        limits[2 * n, k] = cost
    room = torch.cat([flat, 1 - flat, radius * flat.sum().view(1)]).numpy()
    gain = [float(value[end] - value[source]) for source, end, _ in moves]
    found = linprog([-g for g in gain], A_ub=limits.tocsr(), b_ub=room, bounds=(0, None))
    assert found.status == 0
    return -float(found.fun)


def blobs(count: int, side: int = 8) -> torch.Tensor:
    coarse = torch.rand(count, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")


def walk(method: Wasserstein, target: LinearTarget, x: torch.Tensor, goal: AwayFrom) -> list:
    search = method.run(target, x, goal, FREE, torch.Generator().manual_seed(0))
    return [each.x for each in search]


@pytest.mark.parametrize("radius", [0.1, 0.3])
def test_it_comes_near_to_what_a_linear_program_can_move_and_never_beyond(radius: float) -> None:
    x, target = blobs(4), LinearTarget.random(64, 2)
    way = (target.weight[:, 1] - target.weight[:, 0]).view(8, 8)
    goal = AwayFrom(torch.zeros(4, dtype=torch.long))
    best = torch.tensor([most(each[0], way, radius) for each in x])
    gains = [
        ((each - x)[:, 0] * way).sum((1, 2))
        for each in walk(Wasserstein(radius=radius), target, x, goal)
    ]
    share = torch.stack(gains) / best
    assert share.max() <= 1 + 1e-3
    assert share[-1].min() > 0.8
    assert share[-1].mean() > 0.85


def test_every_candidate_lies_in_the_ball_by_linear_program_and_keeps_its_brightness() -> None:
    x, target = blobs(2, side=4), LinearTarget.random(16, 2)
    goal = AwayFrom(torch.zeros(2, dtype=torch.long))
    for each in walk(Wasserstein(radius=0.15, steps=4), target, x, goal):
        assert torch.allclose(each.sum((1, 2, 3)), x.sum((1, 2, 3)), rtol=1e-5)
        assert target.space.contains(each).all()
        for a, b in zip(x.double(), each.double(), strict=True):
            mass = a.sum()
            assert exact(a[0] / mass, b[0] / b.sum()) <= 0.15 * (1 + 1e-4)


def test_brightness_moves_as_far_as_the_radius_pays_for() -> None:
    """One lit pixel; class 1 above a quarter in its neighbour: a radius of a quarter buys that."""
    x = torch.zeros(1, 1, 5, 5)
    x[..., 2, 2] = 1
    weight = torch.zeros(25, 2)
    weight[13, 1] = 10
    target = LinearTarget(weight, torch.tensor([2.5, 0.0]))
    for radius, reached in ((0.27, True), (0.23, False)):
        for goal in (AwayFrom(torch.tensor([0])), ToClass(torch.tensor([1]))):
            got = attack(Wasserstein(radius=radius, steps=15), target, x, goal, FREE, Run())
            assert bool(got.success) == reached


def test_black_images_and_other_ranges_work() -> None:
    space = Box(-1.0, 1.0)
    target = LinearTarget(LinearTarget.random(16, 2).weight, torch.zeros(2), space)
    x = torch.cat([torch.full((1, 1, 4, 4), -1.0), 2 * blobs(2, side=4) - 1])
    for each in walk(Wasserstein(steps=3), target, x, AwayFrom(target.answer(x))):
        assert each.isfinite().all()
        assert torch.allclose(each[0], x[0], atol=1e-5)
        assert torch.allclose(each.sum((1, 2, 3)), x.sum((1, 2, 3)), atol=1e-3)
        assert space.contains(each).all()


def test_windows_have_a_middle_and_tables_no_neighbours() -> None:
    target, goal = LinearTarget.random(16, 2), AwayFrom(torch.zeros(2, dtype=torch.long))
    with pytest.raises(InputError, match="odd"):
        attack(Wasserstein(window=4), target, blobs(2, side=4), goal, FREE, Run())
    with pytest.raises(NotApplicable, match="images"):
        attack(Wasserstein(), target, torch.rand(2, 16), goal, FREE, Run())


def test_on_digits_it_far_outdoes_moving_brightness_at_random(digits, digit_target) -> None:
    case = Case(digit_target, digits[1].first(40), ThreatModel("Gradients"))
    evidence = assess(Wasserstein(radius=0.2, steps=20), case, Run())
    found = {m.name: m.value for m in evidence.measurements}
    assert found["accuracy under one try"] > 0.8
    assert found["robust accuracy"] < 0.3


def test_images_without_bounds_are_refused_rather_than_called_robust() -> None:
    target = replace(LinearTarget.random(8, 3), space=Box(-torch.inf, torch.inf))
    x = torch.rand(2, 1, 2, 4, generator=torch.Generator().manual_seed(0))
    with pytest.raises(NotApplicable, match="bounds"):
        attack(Wasserstein(), target, x, AwayFrom(target.answer(x)), Budget("any", 1.0), Run())


def test_mass_counts_from_the_least_bound_where_pixels_differ_in_theirs() -> None:
    """From another one, dark pixels would hold less than nothing, and the plan would not add up."""
    low = torch.zeros(1, 4, 4)
    low[:, :2] = -1.0
    x = low + 0.1 + 0.3 * torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    target = replace(LinearTarget.random(16, 3), space=Box(low, 1.0))
    goal = AwayFrom(target.answer(x))
    method = Wasserstein(radius=0.2, window=3, steps=4)
    rng = torch.Generator().manual_seed(0)
    _, *shown = [c.x for c in method.run(target, x, goal, Budget("any", 1.0), rng)]
    mass = (x + 1).sum((1, 2, 3))
    for adv in shown:  # at the higher bounds, clamping adds a little
        share = (adv + 1).sum((1, 2, 3)) / mass
        assert ((share > 1 - 1e-4) & (share < 1.1)).all()
    way = target.gradient(x, goal.loss).wrt_input
    assert ((shown[-1] - x) * way).sum() > 0
