"""SurFree's circle; what it reaches on flat boundaries is in test_decisions.py."""

import math

import torch

from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.surfree import SurFree, arc
from tests.hunting import hunt_on
from tests.oracles import check_minimum, two_class


def test_points_lie_on_the_circle_with_diameter_from_the_input_to_the_point() -> None:
    target, x = two_class((10,), n=7)
    hunt = hunt_on(target, x)
    adv = x + 0.05 * (hunt.adv - x)
    u = torch.nn.functional.normalize(adv - x)
    v = hunt.edge.noise(x, torch.Generator().manual_seed(0))
    v = torch.nn.functional.normalize(v - (u * v).sum(1, keepdim=True) * u)
    angle = torch.linspace(-1.4, 1.4, 7)
    z = arc(hunt, adv, u, v, angle, hunt.rows)
    assert torch.allclose(((z - x) * (z - adv)).sum(1), torch.zeros(7), atol=1e-6)  # Thales
    assert torch.allclose(hunt.distance(z), hunt.distance(adv) * angle.cos(), atol=1e-6)
    assert torch.equal(((z - x) * v).sum(1).sign(), angle.sign())


def test_in_a_plane_one_direction_is_enough() -> None:
    """A flat boundary leaves the circle at the foot of the perpendicular (the paper's lemma)."""
    target, x = two_class((2,), n=12)
    method = SurFree(steps=1, tries=10, width=0, halvings=18)
    got = check_minimum(method, "l2", target, x, slack=0.003)
    assert got.forwards / len(x) < 80


def test_no_step_ever_goes_away_from_the_input() -> None:
    target, x = two_class((8,), n=10)
    goal, budget = AwayFrom(target.answer(x)), Budget("l2", torch.inf)
    rng = torch.Generator().manual_seed(0)
    _, *shown = [c.x for c in SurFree(steps=60).run(target, x, goal, budget, rng)]
    far = torch.stack([target.space.distance(each, x, "l2") for each in shown])
    assert all((target.answer(each) != goal.labels).all() for each in shown)
    assert (far.diff(dim=0) <= 1e-6).all()
    assert (far[-1] < 1.05 * target.distance(x, "l2")).all()


def test_a_direction_that_does_not_help_costs_two_queries_per_size_and_changes_nothing() -> None:
    target, x = two_class((6,), n=4)
    hunt = hunt_on(target, x)
    adv = hunt.edge.search(x, hunt.adv, hunt.rows, 18)
    seen = []

    def never(points: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        seen.append(len(points))
        return torch.zeros(len(points), dtype=torch.bool)

    object.__setattr__(hunt.edge, "reached", never)
    u, v = torch.eye(6)[:1].expand(4, 6), torch.eye(6)[1:2].expand(4, 6)
    angle = SurFree(tries=3)._turn(hunt, adv, u, v, torch.full((4,), math.radians(30)))
    assert torch.equal(angle, torch.zeros(4))
    assert seen == [4] * 6


def test_the_largest_angle_that_holds_is_found_on_either_side() -> None:
    target, x = two_class((6,), n=4)
    hunt = hunt_on(target, x)
    limits = torch.tensor([0.2, -0.3, 1.0, -1.2])

    def reached(points: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        angle = torch.atan2(points[:, 1] - x[rows, 1], points[:, 0] - x[rows, 0])
        limit = limits[rows]
        return (angle * limit.sign() >= 0) & (angle.abs() <= limit.abs())

    object.__setattr__(hunt.edge, "reached", reached)
    u, v = torch.eye(6)[:1].expand(4, 6), torch.eye(6)[1:2].expand(4, 6)
    method = SurFree(width=1e-4, halvings=20)
    angle = method._turn(hunt, x + 0.1 * u, u, v, torch.full((4,), math.radians(30)))
    assert torch.allclose(angle, limits, atol=2e-3)
    assert (angle.abs() <= limits.abs() + 1e-6).all()


def test_it_needs_no_more_queries_than_it_is_allowed() -> None:
    target, x = two_class((8,), n=5)
    goal = AwayFrom(target.answer(x))
    for queries in (1, 9, 140):
        got = attack(SurFree(), target, x, goal, Budget("l2", torch.inf), Run(queries=queries))
        assert got.forwards <= 5 * queries
