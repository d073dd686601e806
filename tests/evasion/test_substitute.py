"""What the substitute learns from answers alone, and what its attacks do to the target."""

from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from holdfast.core.goal import AwayFrom, ToClass
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.substitute import Substitute
from holdfast.targets.torch import TorchClassifier
from tests.oracles import two_class
from tests.toys import LinearTarget

NONE = torch.zeros(0, dtype=torch.long)


@dataclass(frozen=True)
class Asked:
    """A target that gives answers and nothing else, and keeps what it was asked."""

    inner: object
    seen: list[Tensor] = field(default_factory=list)

    @property
    def space(self) -> Box:
        return self.inner.space

    def answer(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        return self.inner.answer(x)


class Keeping(Substitute):
    """Keeps the substitutes that it trains."""

    kept: ClassVar[list[TorchClassifier]] = []

    def imitate(self, *args):
        self.kept.append(super().imitate(*args))
        return self.kept[-1]


def test_it_agrees_with_a_trained_target_and_its_examples_transfer(digits, digit_target) -> None:
    rows, held = digits[1].x[:200], digits[1].x[200:]
    target = Asked(digit_target)
    goal, budget = AwayFrom(digit_target.answer(rows)), Budget("linf", 0.2)
    got = attack(Keeping(iterations=4), target, rows, goal, budget, Run())
    agree = (Keeping.kept[-1].answer(held) == digit_target.answer(held)).float().mean()
    noisy = digit_target.space.random(rows, budget, torch.Generator().manual_seed(0))
    fell = (digit_target.answer(noisy) != goal.labels).float().mean()
    assert agree > 0.8
    assert got.success.float().mean() > fell + 0.3
    # the clean inputs, then 150 of them doubled three times, then 400 new; and the end
    assert got.forwards == 200 + 150 * 7 + 400 + 200
    assert got.backwards == 0


def test_new_inputs_lie_one_step_along_the_sign_of_the_slope_of_the_answered_class() -> None:
    inner, x = two_class()
    target, told = Asked(inner), inner.answer(x)
    rng = torch.Generator().manual_seed(0)
    Substitute(iterations=4, epochs=150, reach=0.01).imitate(target, x, told, NONE, rng)
    one, two, three, four = target.seen
    steps = [new - old for new, old in ((one, x), (two, torch.cat([x, one])))]
    for step in steps:
        assert torch.allclose(step.abs(), torch.full_like(step, 0.01), atol=1e-6)
    slope = (inner.weight[:, told] - inner.weight[:, 1 - told]).T
    heavy = slope.abs() > slope.abs().mean()
    same = (steps[0].sign() == slope.sign())[heavy].float().mean()
    assert same > 0.8  # towards its own class for three rounds, away from it for the next three
    everything = torch.cat([x, one, two, three])
    own = inner.answer(everything)
    assert len(four) == len(everything) == 8 * len(x)
    change = lead(inner, four).mean() - lead(inner, everything).mean()
    assert torch.isin(own, told.unique()).all()
    assert change < -0.5 * 0.01 * slope.abs().sum(1).mean()


def lead(target: LinearTarget, x: Tensor) -> Tensor:
    """How far the answered class is ahead."""
    raw = target.scores(x)
    return raw.max(1).values - raw.min(1).values


def test_frozen_features_are_never_asked_about_nor_moved() -> None:
    inner, x = two_class()
    editable = torch.arange(24) % 3 > 0
    target = Asked(LinearTarget(inner.weight, inner.bias, Box(editable=editable)))
    goal = AwayFrom(inner.answer(x))
    method = Substitute(iterations=2, epochs=100)
    got = attack(method, target, x, goal, Budget("linf", 0.3), Run())
    assert got.success.float().mean() > 0.5
    for part in [got.x, *target.seen]:
        assert torch.isin(part[:, ~editable], x[:, ~editable]).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_on_a_linear_target_it_comes_near_the_boundary_that_it_learnt(norm: str) -> None:
    """Nothing falls inside of the certified ball; at three times the distance nearly all do."""
    target, x = two_class(n=48)
    far = target.distance(x, norm)
    own = target.answer(x)
    method, run = Substitute(iterations=2, epochs=60), Run()
    for goal in (AwayFrom(own), ToClass(1 - own)):
        wide = attack(method, target, x, goal, Budget(norm, 3 * far), run)
        near = attack(method, target, x, goal, Budget(norm, 0.95 * far), run)
        assert wide.success.float().mean() > 0.8
        assert not near.success.any()


def test_classes_that_show_up_late_are_learnt_as_well() -> None:
    centre = torch.tensor([0.1, 0.4, 0.9])  # the nearest one is the class
    target = LinearTarget(20 * centre.view(1, 3), -10 * centre.square())
    x = torch.tensor([[0.15], [0.5]])
    rng = torch.Generator().manual_seed(0)
    told = target.answer(x)
    copy = Substitute(iterations=3, reach=0.2, epochs=40).imitate(target, x, told, NONE, rng)
    alone = Substitute(iterations=0).imitate(target, x, told, NONE, rng)
    wanted = Substitute(iterations=0).imitate(target, x, told, torch.tensor([7]), rng)
    shown = [model.scores(x).shape[1] for model in (alone, copy, wanted)]
    assert shown == [2, 3, 8]
