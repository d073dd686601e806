"""Model inversion against models whose best-loved input is known."""

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from holdfast.core.space import Box
from holdfast.core.target import Gradient
from holdfast.privacy.attacks.model_inversion import ModelInversion
from tests.toys import LinearTarget


def last(method: ModelInversion, target, labels: Tensor, shape: tuple[int, ...]) -> Tensor:
    *_, found = method.reconstruct(
        target, labels, torch.zeros(len(labels), *shape), torch.Generator()
    )
    return found


def test_the_first_step_follows_the_gradient_of_the_probability() -> None:
    """At 0 all classes are even: x = step_size * p_y (w_y - mean w), clamped."""
    target = LinearTarget.random(12, 4)
    labels = torch.arange(4)
    found = last(ModelInversion(iterations=1, step_size=0.3), target, labels, (12,))
    w = target.weight.T
    expected = (0.3 * 0.25 * (w - w.mean(0))).clamp(0, 1)
    torch.testing.assert_close(found, expected)


def test_a_planted_template_of_each_class_is_recovered() -> None:
    template = (torch.rand(5, 64, generator=torch.Generator().manual_seed(0)) < 0.2).float()
    weight = (template - template.mean(0)).T
    found = last(ModelInversion(), LinearTarget(weight, torch.zeros(5)), torch.arange(5), (64,))
    for k in range(5):
        correlation = torch.corrcoef(torch.stack([found[k], template[k]]))[0, 1]
        assert correlation > 0.9


@dataclass
class Walk:
    """Its gradient always says up, while the probability of class 1 peaks at x = 5."""

    asked: list[int] = field(default_factory=list)
    space: Box = field(default_factory=lambda: Box(-torch.inf, torch.inf))

    def gradient(self, x: Tensor, loss) -> Gradient:
        self.asked.append(len(x))
        raw = torch.cat([torch.zeros_like(x), 3 - (x - 5).square()], 1)
        return Gradient(-torch.ones_like(x), raw)


def test_the_best_point_is_returned_and_not_the_last() -> None:
    target = Walk()
    method = ModelInversion(step_size=0.1, window=20, enough=0.0)
    found = last(method, target, torch.tensor([1]), (1,))
    assert float(found) == pytest.approx(5.0, abs=0.06)
    # cost rises from step 50 on, and stops falling below the window's worst 10 steps later
    assert 55 <= len(target.asked) <= 80


def test_a_row_that_is_sure_enough_leaves_and_costs_nothing_more() -> None:
    target = Walk()
    last(ModelInversion(step_size=0.1, enough=0.5), target, torch.tensor([1, 1]), (1,))
    # p > 1/2 where (x - 5)^2 < 3, which is first met at x = 3.3
    assert len(target.asked) == 34
    assert set(target.asked) == {2}


def test_digits_are_recognised_by_a_model_that_saw_none_of_the_training_rows(
    digits, recipe, digit_target
) -> None:
    judge = recipe.train(digits[1], seed=5)
    labels = torch.arange(10)
    found = last(ModelInversion(), digit_target, labels, (1, 8, 8))
    assert int((judge.answer(found) == labels).sum()) >= 8
    assert digit_target.space.contains(found).all()
    assert (digit_target.scores(found).softmax(1)[labels, labels] > 0.98).all()
