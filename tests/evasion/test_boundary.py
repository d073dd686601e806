"""The boundary attack's geometry and its adaptive steps; what it reaches is in test_decisions.py."""

import pytest
import torch

from holdfast.core.goal import AwayFrom
from holdfast.core.space import Budget
from holdfast.evasion.attacks.boundary import Boundary
from tests.hunting import hunt_on
from tests.oracles import two_class


def test_a_step_turns_on_the_sphere_and_then_goes_towards_the_input() -> None:
    target, x = two_class((12,), n=6)
    hunt = hunt_on(target, x)
    adv = x + 0.1 * (hunt.adv - x)  # well inside of the box, which does not cut any step
    turn, pull = torch.linspace(0.1, 0.9, 6), torch.linspace(0.05, 0.5, 6)
    rng = torch.Generator().manual_seed(0)
    every = Boundary().propose(hunt, adv, turn, pull, 3, rng)
    far = hunt.distance(adv)
    for sphere, point, near in zip(*(each.unbind(1) for each in every), strict=True):
        assert torch.allclose(hunt.distance(sphere), far, rtol=1e-5)
        assert torch.allclose(hunt.distance(point), (1 - pull) * far, rtol=1e-5)
        assert torch.allclose(near, hunt.distance(point), rtol=1e-5)
        cosine = torch.cosine_similarity(sphere - x, adv - x)
        assert torch.allclose(cosine, 1 / (1 + turn**2).sqrt(), atol=1e-5)  # eta is orthogonal to u
        cosine = torch.cosine_similarity(point - x, sphere - x)
        assert torch.allclose(cosine, torch.ones(6), atol=1e-5)
    assert (every[0][:, 0] - every[0][:, 1]).abs().amax(1).min() > 1e-3, "each is drawn anew"


def test_clamping_counts_as_a_part_of_the_pull() -> None:
    target, x = two_class((12,), n=6)
    hunt = hunt_on(target, x)
    corner = (hunt.adv > 0.5).float()  # every turn from here leaves the box
    turn, pull = torch.full((6,), 0.5), torch.full((6,), 0.3)
    rng = torch.Generator().manual_seed(0)
    sphere, point, near = (v[:, 0] for v in Boundary().propose(hunt, corner, turn, pull, 1, rng))
    assert torch.allclose(near, hunt.distance(point), rtol=1e-4, atol=1e-6)
    far = hunt.distance(corner)
    assert target.space.contains(sphere).all()
    assert (hunt.distance(sphere) < 0.99 * far).all()
    assert (hunt.distance(point) <= 0.7 * far * 1.0001).all() | torch.allclose(point, sphere)


@pytest.mark.parametrize(
    ("won", "factor"),
    [([1, 1, 1, 0, 0], 1.5), ([1, 0, 0, 1, 0], 1.0), ([0, 0, 0, 0, 0], 1 / 1.5), ([1] * 4, 1.0)],
)
def test_steps_grow_and_shrink_by_how_many_of_a_full_window_succeeded(won, factor) -> None:
    window = torch.full((1, 5), torch.nan)
    window[0, 5 - len(won) :] = torch.tensor(won, dtype=torch.float32)
    assert float(Boundary()._factor(window, 0.2, 0.5)) == pytest.approx(factor)


@pytest.mark.parametrize("at_once", [1, 3])
def test_every_point_it_shows_reaches_the_goal_and_none_is_farther_than_the_one_before(
    at_once: int,
) -> None:
    target, x = two_class((6,), n=8)
    goal, budget = AwayFrom(target.answer(x)), Budget("l2", torch.inf)
    method, rng = (
        Boundary(150, 0.5, 0.3, check_every=1, turns_kept=6, pulls_kept=6, at_once=at_once),
        torch.Generator().manual_seed(0),
    )
    _, *shown = [c.x for c in method.run(target, x, goal, budget, rng)]
    far = torch.stack([target.space.distance(each, x, "l2") for each in shown])
    assert all((target.answer(each) != goal.labels).all() for each in shown)
    assert (far.diff(dim=0) <= 1e-6).all()
    assert (far[-1] < 0.9 * far[0]).float().mean() > 0.7


def test_on_a_flat_boundary_small_turns_succeed_half_the_time_so_that_they_grow() -> None:
    target, x = two_class((6,), n=8)
    hunt = hunt_on(target, x)
    adv = hunt.edge.search(x, hunt.adv, hunt.rows, 20)
    rng = torch.Generator().manual_seed(0)
    small = torch.full((8,), 0.01)
    held = []
    for _ in range(200):
        sphere, _point, _near = Boundary().propose(hunt, adv, small, small, 1, rng)
        held.append(hunt.edge.reached(sphere[:, 0], hunt.rows))
    assert 0.4 < torch.stack(held).float().mean() < 0.6


def test_the_pull_shrinks_where_points_fail_even_if_those_on_the_sphere_fail_too(
    monkeypatch,
) -> None:
    """Its limits are rates of all points asked, not of those whose place on the sphere held."""
    target, x = two_class((6,), n=4)
    pulls = []

    def fails(self, hunt, adv, turn, pull, count, rng):
        pulls.append(pull)
        clean = hunt.x.unsqueeze(1).repeat(1, count, 1)  # which never reaches the goal
        return clean, clean, clean[:, :, 0]

    monkeypatch.setattr(Boundary, "propose", fails)
    method = Boundary(10, 0.5, 0.3, check_every=1, turns_kept=100, pulls_kept=4, at_once=1)
    goal, budget = AwayFrom(target.answer(x)), Budget("l2", torch.inf)
    list(method.run(target, x, goal, budget, torch.Generator().manual_seed(0)))
    shown = torch.stack(pulls)[:, 0]
    expected = 0.3 / 1.5 ** (torch.arange(10) // 4)
    assert torch.allclose(shown, expected)


def test_of_the_proposals_of_one_pass_the_nearest_that_reaches_the_goal_is_kept(
    monkeypatch,
) -> None:
    target, x = two_class((6,), n=4)
    start = hunt_on(target, x).adv

    def ladder(self, hunt, adv, turn, pull, count, rng):
        share = torch.tensor([0.9, 0.0, 0.8, 0.95]).view(1, -1, 1)  # all but the second hold
        point = hunt.x.unsqueeze(1) + share * (adv - hunt.x).unsqueeze(1)
        return point, point, (point - hunt.x.unsqueeze(1)).norm(dim=2)

    monkeypatch.setattr(Boundary, "propose", ladder)
    monkeypatch.setattr("holdfast.ops.boundary.Boundary.search", lambda *given: given[2])
    far = target.distance(x, "l2")
    safe = far < 0.8 * (start - x).norm(dim=1)
    goal, budget = AwayFrom(target.answer(x)), Budget("l2", torch.inf)
    *_, last = Boundary(4, at_once=4).run(target, x, goal, budget, torch.Generator().manual_seed(0))
    assert safe.any()
    assert torch.allclose(last.x[safe], (x + 0.8 * (start - x))[safe], atol=1e-5)


def test_a_pass_for_every_few_proposals_and_one_look_at_the_sphere_for_every_ten() -> None:
    target, x = two_class((6,), n=3)
    asked = []

    class Watched(type(target)):
        def answer(self, points: torch.Tensor) -> torch.Tensor:
            asked.append(len(points))
            return super().answer(points)

    watched = Watched(target.weight, target.bias, target.space)
    goal, budget = AwayFrom(target.answer(x)), Budget("l2", torch.inf)
    list(Boundary(43).run(watched, x, goal, budget, torch.Generator().manual_seed(0)))
    assert asked[-9:] == [15, 18, 15, 18, 15, 18, 15, 18, 9]
