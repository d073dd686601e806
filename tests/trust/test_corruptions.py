"""Accuracy under corruption: where it must fall is known, and batches do not matter."""

from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.core.record import ThreatModel
from holdfast.core.run import Run
from holdfast.core.space import Box
from holdfast.engine.case import Case, Evidence
from holdfast.engine.measure import assess
from holdfast.ops.corruptions import PROPERTIES
from holdfast.ops.stats import clopper_pearson
from holdfast.trust.tests.corruptions import Corruptions


@dataclass(frozen=True)
class Bright:
    """Answers 1 for images whose mean is above one half."""

    space: Box = field(default_factory=Box)

    def answer(self, x: Tensor) -> Tensor:
        return (x.flatten(1).mean(1) > 0.5).long()


def run(target: object, data: Dataset, **settings: int) -> Evidence:
    return assess(Corruptions(), Case(target, data, ThreatModel("Answers")), Run(**settings))


def curve(got: Evidence, name: str, part: str) -> list[float]:
    found = {m.part: m.value for m in got.measurements if m.name == name}
    return [found[f"{part}={severity}"] for severity in range(1, 6)]


def test_accuracy_falls_exactly_where_brightness_crosses_the_threshold() -> None:
    dark = torch.full((40, 1, 8, 8), 0.5 - 0.12)
    data = Dataset("dark", dark, torch.zeros(40, dtype=torch.long), ("dark", "bright"))
    got = run(Bright(), data)
    # 0.05, 0.1 | 0.15, 0.2, 0.3 are added; contrast and blur leave the mean as it is
    assert curve(got, "accuracy by corruption", "brightness") == [1, 1, 0, 0, 0]
    assert curve(got, "accuracy by corruption", "contrast") == [1, 1, 1, 1, 1]
    assert curve(got, "accuracy under corruption", "light") == [1, 1, 0.5, 0.5, 0.5]
    assert curve(got, "accuracy under corruption", "blur") == [1, 1, 1, 1, 1]


def test_the_interval_is_that_of_one_trial_a_row() -> None:
    dark = torch.full((40, 1, 8, 8), 0.5 - 0.12)
    data = Dataset("dark", dark, torch.zeros(40, dtype=torch.long), ("dark", "bright"))
    got = next(m for m in run(Bright(), data).measurements if m.part == "light=4")
    assert (got.value, got.n) == (0.5, 40)
    assert (got.low, got.high) == clopper_pearson(20, 40)


def test_the_overall_figure_is_the_mean_of_its_parts() -> None:
    x = torch.rand(30, 3, 9, 11, generator=torch.Generator().manual_seed(0))
    data = Dataset("noise", x, (x.flatten(1).mean(1) > 0.5).long(), ("dark", "bright"))
    got = run(Bright(), data)
    parts = [curve(got, "accuracy under corruption", name) for name in PROPERTIES]
    whole = next(m for m in got.measurements if m.name == "mean corruption accuracy")
    assert whole.value == pytest.approx(float(torch.tensor(parts).mean()))
    assert whole.low < whole.value < whole.high


def test_digits_are_read_worse_the_worse_they_are_corrupted(digit_target, digits) -> None:
    got = run(digit_target, digits[1])
    clean = got.measurements[0]
    assert clean.name == "clean accuracy"
    for name in PROPERTIES:
        accuracy = [clean.value, *curve(got, "accuracy under corruption", name)]
        noise = 0.03  # two standard errors of a difference at n = 597
        assert all(b <= a + noise for a, b in pairwise(accuracy)), name
        assert accuracy[-1] < clean.value - 0.01, name


def test_the_result_does_not_depend_on_the_batch_size_but_on_the_seed(digit_target, digits) -> None:
    few = digits[1].first(150)
    one, other = (run(digit_target, few, batch_size=size) for size in (32, 256))
    assert one.measurements == other.measurements
    assert run(digit_target, few, seed=1).measurements != one.measurements


def test_tables_and_tiny_or_unscaled_images_do_not_apply() -> None:
    label = torch.zeros(2, dtype=torch.long)
    plain = Dataset("table", torch.rand(2, 9), label, ("a", "b"))
    for x in (plain.x, torch.rand(2, 1, 7, 20), torch.rand(2, 1, 8, 8) * 255):
        with pytest.raises(NotApplicable):
            run(Bright(), replace(plain, x=x))
