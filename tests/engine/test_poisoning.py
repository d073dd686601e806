"""What poison does to a nearest-mean classifier in closed form, and to a small network."""

import math
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NeedsError, NotApplicable
from holdfast.core.record import ThreatModel
from holdfast.core.run import Run
from holdfast.core.space import Box
from holdfast.engine.case import Case
from holdfast.engine.poisoning import _pair, assess, drop
from holdfast.poisoning.attacks.feature_collision import FeatureCollision
from holdfast.poisoning.attacks.label_flip import LabelFlip
from tests.toys import LinearTarget

THREAT = ThreatModel("Nothing")


@dataclass(frozen=True)
class Means:
    """The nearest of two class means."""

    centres: Tensor
    space: Box = field(default_factory=Box)

    def scores(self, x: Tensor) -> Tensor:
        return -(x - self.centres.T).abs()

    def decode(self, raw: Tensor) -> Tensor:
        return raw.argmax(1)

    def answer(self, x: Tensor) -> Tensor:
        return self.decode(self.scores(x))


@dataclass(frozen=True)
class MeanRecipe:
    """Trains nothing but two means."""

    digest: str = "means"

    def train(self, data: Dataset, seed: int) -> Means:
        return Means(torch.stack([data.x[data.y == k].mean(0) for k in (0, 1)]))


def gaussians(n: int, seed: int) -> Dataset:
    y = torch.arange(2).repeat_interleave(n)
    noise = torch.randn(2 * n, 1, generator=torch.Generator().manual_seed(seed))
    return Dataset("gaussians", noise + (2.0 * y - 1).unsqueeze(1), y, ("left", "right"))


def found(evidence, name: str, part: str = ""):
    return next(m for m in evidence.measurements if (m.name, m.part) == (name, part))


def below(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


def test_flips_have_their_closed_form_effect_on_nearest_means() -> None:
    """Random flips shrink both means and leave the boundary; half of one class moves it by 1/3."""
    train, test = gaussians(20000, 1), gaussians(20000, 2)
    recipe = MeanRecipe()
    evidence = assess(LabelFlip(), Case(recipe.train(train, 0), test, THREAT, train, recipe), Run())
    assert found(evidence, "clean accuracy").value == pytest.approx(below(1), abs=0.01)
    for rate in ("rate=0.1", "rate=0.3"):
        assert found(evidence, "accuracy drop", rate).value == pytest.approx(0, abs=0.005)
    name = "half-flipped class answered as the other"
    assert found(evidence, name, "rate=0.25").value == pytest.approx(below(-2 / 3), abs=0.015)
    assert found(evidence, f"{name} without poison").value == pytest.approx(below(-1), abs=0.01)


def test_a_drop_is_positive_when_accuracy_was_lost_and_has_a_paired_interval() -> None:
    before = torch.ones(2, 100, dtype=torch.bool)
    after = before.clone()
    after[:, :30] = False
    got = drop(before, after, "accuracy drop")
    assert got.value == pytest.approx(0.3)
    assert got.n == 100
    assert got.low == pytest.approx(0.3 - 1.96 * math.sqrt(0.3 * 0.7 / 99), abs=3e-3)
    assert drop(after, before, "accuracy drop").value == pytest.approx(-0.3)


@pytest.fixture(scope="module")
def frogs(digits, digit_target):
    case = Case(digit_target, digits[1], THREAT, digits[0])
    return assess(FeatureCollision(), case, Run())


def test_frogs_take_their_victims_where_noise_of_the_same_size_takes_none(frogs) -> None:
    success = found(frogs, "victim success", "rate=0.01")
    assert success.value >= 0.6
    assert success.n == frogs.rows == 10
    assert found(frogs, "victim success of random noise", "rate=0.01").value <= 0.1


def test_frogs_hardly_show_in_the_accuracy_or_in_the_label(frogs) -> None:
    assert found(frogs, "clean accuracy").value > 0.93
    assert abs(found(frogs, "accuracy drop", "rate=0.01").value) < 0.02
    assert frogs.tensors["clean"].shape == frogs.tensors["poisoned"].shape
    assert not torch.equal(frogs.tensors["clean"], frogs.tensors["poisoned"])
    assert frogs.backwards > 0


def test_what_cannot_be_run_says_why(digits, digit_target) -> None:
    with pytest.raises(NotApplicable, match="training rows"):
        assess(FeatureCollision(), Case(digit_target, digits[1], THREAT), Run())
    with pytest.raises(NotApplicable, match="train models"):
        assess(LabelFlip(), Case(digit_target, digits[1], THREAT, digits[0]), Run())
    target = LinearTarget.random(64, 10)
    with pytest.raises(NeedsError, match="features"):
        assess(FeatureCollision(), Case(target, digits[1], THREAT, digits[0]), Run())


def test_the_class_that_is_to_be_misread_is_one_that_is_tested() -> None:
    data = Dataset("three", torch.rand(30, 1), torch.arange(30) % 3, ("a", "b", "c"))
    seen = data.take((data.y == 1).nonzero().flatten())
    for seed in range(8):
        source, wanted = _pair(data, seen, Run(seed=seed))
        assert source == 1
        assert wanted in (0, 2)
    with pytest.raises(NotApplicable, match="held-out"):
        _pair(data, seen.take(torch.zeros(0, dtype=torch.long)), Run())


def test_one_class_of_training_rows_is_not_applicable(digits, digit_target) -> None:
    train, test = digits
    ones = train.take((train.y == 1).nonzero().flatten())
    with pytest.raises(NotApplicable, match="two classes"):
        assess(FeatureCollision(steps=1), Case(digit_target, test, THREAT, ones), Run())
