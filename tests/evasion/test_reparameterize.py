"""Reparameterisation: exact distances within a linear range, and a learned one on digits."""

from dataclasses import dataclass

import pytest
import torch

from holdfast.core.goal import AwayFrom, ToClass
from holdfast.core.kinds import EvasionAttack
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.core.target import Gradients
from holdfast.engine.evasion import answers, attack
from holdfast.evasion.attacks.pgd import PGD
from holdfast.evasion.attacks.reparameterize import Reparameterize
from holdfast.targets.wrappers import Defended
from tests.toys import LinearTarget

RNG = torch.Generator().manual_seed(0)
BASIS = torch.linalg.qr(torch.randn(24, 5, generator=RNG))[0].T
"""(5, 24) orthonormal rows: the range of the generator is the middle of the box plus their span."""


def decode(z):
    return 0.5 + z @ BASIS


@dataclass(frozen=True)
class OnPlane(EvasionAttack[Gradients]):
    """The attack with a generator that is known."""

    steps: int = 300

    def run(self, target, x, goal, budget, rng):
        yield from Reparameterize(steps=self.steps, rate=0.05).climb(
            target, decode, (x - 0.5) @ BASIS.T, x, goal, budget
        )


def problem(n: int = 12) -> tuple[LinearTarget, torch.Tensor, torch.Tensor]:
    """A two-class linear model, rows on the range, and how far the boundary is within it."""
    weight = torch.randn(24, 1, generator=torch.Generator().manual_seed(1))
    target = LinearTarget(
        10 * torch.cat([-weight, weight], 1), 5 * weight.sum() * torch.tensor([1.0, -1.0])
    )
    z = 0.3 * torch.randn(n, 5, generator=torch.Generator().manual_seed(2))
    x = decode(z)
    inside = (BASIS @ weight).norm()  # only this part of the slope can be used
    far = (((x - 0.5) @ weight).squeeze(1) / inside).abs()
    return target, x[far > 0.02], far[far > 0.02]


@pytest.mark.parametrize(("factor", "reached"), [(1.1, True), (0.97, False)])
def test_rows_fall_exactly_when_the_boundary_is_in_the_ball_within_the_range(
    factor, reached
) -> None:
    target, x, far = problem()
    assert (far > 1.05 * target.distance(x, "l2")).all()  # off the range it would be nearer
    goal = AwayFrom(target.answer(x))
    got = attack(OnPlane(), target, x, goal, Budget("l2", factor * far), Run())
    assert (got.success == reached).all()
    if reached:
        off = (got.x - 0.5) - (got.x - 0.5) @ BASIS.T @ BASIS
        assert float(off.abs().amax()) < 1e-5
        wanted = ToClass(1 - goal.labels)
        assert attack(OnPlane(), target, x, wanted, Budget("l2", factor * far), Run()).success.all()


def test_codes_outside_of_the_ball_are_led_back_into_it() -> None:
    target, x, far = problem()
    goal, budget = AwayFrom(target.answer(x)), Budget("l2", 1.2 * far)
    away = (x - 0.5) @ BASIS.T + 1.0  # sqrt(5) away from the input, many times its budget
    last = None
    for candidate in Reparameterize(steps=200, rate=0.1).climb(
        target, decode, away, x, goal, budget
    ):
        first = (decode(away) - x).norm(dim=1)
        last = (candidate.x - x).norm(dim=1)
    assert (last < 1.2 * far + 0.05).all()
    assert (first > 2).all()


@dataclass(frozen=True, eq=False)
class Projected:
    """Shows the model the nearest point of a generator's range, through codes that are rounded."""

    net: torch.nn.Module

    def apply(self, x, rng):
        with torch.no_grad():
            return self.net.decoder((8 * self.net.encoder(x)).round() / 8)


def test_it_breaks_a_defence_that_projects_onto_a_learned_range_and_stays_on_it(
    digits, digit_target
) -> None:
    train, test = digits
    method = Reparameterize(steps=50, lessons=800)
    learnt = method.learn(train, torch.Generator().manual_seed(0))
    assert learnt.params == method.params
    # the defence has a generator of its own
    defence = Projected(method.learn(train, torch.Generator().manual_seed(5)).net)
    target = Defended(digit_target, defence)
    right = answers(target, test.x, Run()) == test.y
    assert right.float().mean() > 0.85
    x, goal = test.x[right][:60], AwayFrom(test.y[right][:60])
    got = attack(learnt, target, x, goal, Budget("l2", 1.2), Run())
    noise = target.space.random(x, Budget("l2", 1.2), torch.Generator().manual_seed(1))
    assert (target.answer(noise) != goal.labels).float().mean() < 0.1
    assert got.success.float().mean() > 0.5, float(got.success.float().mean())
    won = got.x[got.success]
    assert (got.distance <= 1.2 + 1e-3).all()
    # a point of the range is closer to its own reconstruction than the test's inputs are to theirs
    with torch.no_grad():
        gap = lambda v: (learnt.net(v) - v).flatten(1).norm(dim=1)  # noqa: E731
        assert gap(won).median() < 0.7 * gap(x).median()


def test_the_same_stream_gives_the_same_generator(digits) -> None:
    method = Reparameterize(lessons=3)
    first, second = (
        method.learn(digits[0], torch.Generator().manual_seed(0)).net.state_dict() for _ in range(2)
    )
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_without_training_rows_it_learns_from_those_under_attack(digits, digit_target) -> None:
    right = digit_target.answer(digits[1].x) == digits[1].y
    x, y = digits[1].x[right][:80], digits[1].y[right][:80]
    goal, budget = AwayFrom(y), Budget("linf", 0.25)
    method = Reparameterize(steps=40, lessons=300)
    got = attack(method, digit_target, x, goal, budget, Run())
    plain = attack(PGD(steps=40), digit_target, x, goal, budget, Run())
    assert 0.2 < float(got.success.float().mean()) <= float(plain.success.float().mean())
    assert got.backwards <= 80 * 40


def test_frozen_features_stay_where_they_are() -> None:
    target, x, far = problem()
    editable = torch.arange(24) % 4 > 0
    masked = LinearTarget(target.weight, target.bias, Box(editable=editable))
    goal = AwayFrom(target.answer(x))
    got = attack(OnPlane(steps=60), masked, x, goal, Budget("l2", 3 * far), Run())
    assert torch.equal(got.x[:, ~editable], x[:, ~editable])
    assert got.success.any()
