"""Wrapped targets: what passes through, what gradients they give, and what stays the same."""

from dataclasses import dataclass, field

import torch

from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.core.target import Gradients, Scores
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.pgd import PGD
from holdfast.targets import wrappers
from holdfast.targets.wrappers import Averaged, Defended, Filtered
from tests.toys import LinearTarget

TARGET = LinearTarget.random(6, 3)
X = torch.rand(7, 6, generator=torch.Generator().manual_seed(0))
GOAL = AwayFrom(torch.tensor([0, 1, 2, 0, 1, 2, 0]))


@dataclass(frozen=True)
class Halved:
    """Half of every value."""

    def apply(self, x, rng):
        return x / 2


@dataclass(frozen=True)
class Rounded:
    """Three levels: its true derivative is zero almost everywhere."""

    def apply(self, x, rng):
        return (2 * x).round() / 2


@dataclass(frozen=True)
class Noise:
    """Fresh noise; notes how many rows it was asked to change."""

    asked: list[int] = field(default_factory=list)

    def apply(self, x, rng):
        self.asked.append(len(x))
        return x + torch.empty_like(x).normal_(generator=rng)


@dataclass(frozen=True)
class Flat:
    """Mixes the probabilities with the uniform ones."""

    def filter(self, probabilities, rng):
        return (probabilities + 1 / probabilities.shape[1]) / 2


@dataclass(frozen=True)
class Shaken:
    """Random weights on the probabilities."""

    def filter(self, probabilities, rng):
        weights = torch.empty_like(probabilities).uniform_(0.5, 1.5, generator=rng)
        mixed = probabilities * weights
        return mixed / mixed.sum(1, keepdim=True)


def test_a_defended_target_sees_changed_inputs_and_passes_gradients_straight_through() -> None:
    defended = Defended(TARGET, Halved())
    assert isinstance(defended, Gradients)
    assert torch.equal(defended.scores(X), TARGET.scores(X / 2))
    assert torch.equal(defended.answer(X), TARGET.answer(X / 2))
    got, expected = defended.gradient(X, GOAL.loss), TARGET.gradient(X / 2, GOAL.loss)
    assert torch.equal(got.wrt_input, expected.wrt_input)  # not halved: the identity backwards
    assert torch.equal(got.raw, expected.raw)


def test_an_attack_on_a_defended_target_gets_past_a_change_without_gradient() -> None:
    target = LinearTarget.two_class(features=12)
    x = torch.full((4, 12), 0.6)
    defended = Defended(target, Rounded())
    goal, budget = AwayFrom(defended.answer(x)), Budget("linf", 0.4)
    got = attack(PGD(steps=20), defended, x, goal, budget, Run())
    assert got.success.all()


def test_a_random_change_treats_an_input_alike_whenever_and_with_whomever_it_is_asked() -> None:
    change = Noise()
    defended = Defended(TARGET, change, Run(seed=3))
    whole = defended.scores(X)
    assert not torch.allclose(whole, TARGET.scores(X))
    asked = sum(change.asked)
    assert torch.equal(defended.scores(X), whole)
    assert torch.allclose(defended.scores(X.flip(0)), whole.flip(0))
    assert torch.allclose(defended.scores(X[2:4]), whole[2:4])
    assert sum(change.asked) == asked  # remembered, not drawn again
    moved = defended.scores(torch.cat([X[:2], X[:2] + 0.1]))
    assert torch.allclose(moved[:2], whole[:2])
    assert sum(change.asked) == asked + 2


def test_other_inputs_and_other_seeds_meet_other_noise() -> None:
    same = X[:1].expand(2, 6).clone()
    same[1, 0] += 1e-6
    first, second = Defended(TARGET, Noise(), Run(seed=0)).scores(same)
    assert not torch.allclose(first, second, atol=1e-3)
    again, other = (Defended(TARGET, Noise(), Run(seed=s)).scores(same) for s in (0, 1))
    assert torch.equal(again[0], first)
    assert not torch.allclose(again, other)


def test_memory_is_bounded_and_no_rows_are_fine(monkeypatch) -> None:
    monkeypatch.setattr(wrappers, "NUMBERS_KEPT", 24)
    defended = Defended(TARGET, Noise())
    first = defended.scores(X)
    assert len(defended._memory._kept) == 4  # of six numbers each
    assert torch.equal(defended.scores(X[-4:]), first[-4:])
    assert not torch.equal(defended.scores(X[:1]), first[:1])
    assert defended.scores(X[:0]).shape == (0, 3)


def test_a_filtered_target_shows_the_logarithm_of_filtered_probabilities_and_no_gradients() -> None:
    filtered = Filtered(TARGET, Flat())
    assert isinstance(filtered, Scores)
    assert not isinstance(filtered, Gradients)
    p = TARGET.scores(X).softmax(1)
    assert torch.allclose(filtered.scores(X).exp(), (p + 1 / 3) / 2)
    assert torch.equal(filtered.answer(X), TARGET.answer(X))


def test_a_random_filter_answers_the_same_question_the_same_way() -> None:
    filtered = Filtered(TARGET, Shaken(), Run(seed=1))
    whole = filtered.scores(X)
    assert not torch.allclose(whole.softmax(1), TARGET.scores(X).softmax(1), atol=1e-3)
    assert torch.allclose(filtered.scores(X[3:5]), whole[3:5])
    assert torch.allclose(whole.exp().sum(1), torch.ones(7))


def test_a_probability_of_zero_stays_finite() -> None:
    class Top:
        def filter(self, probabilities, rng):
            return torch.nn.functional.one_hot(probabilities.argmax(1), 3).float()

    assert Filtered(TARGET, Top()).scores(X).isfinite().all()


def test_averaged_targets_give_the_mean_gradient_and_the_answers_of_the_first() -> None:
    other = LinearTarget.random(6, 3, seed=5)
    both = Averaged((TARGET, other))
    got = both.gradient(X, GOAL.loss)
    each = [t.gradient(X, GOAL.loss).wrt_input for t in (TARGET, other)]
    assert torch.allclose(got.wrt_input, (each[0] + each[1]) / 2)
    assert torch.equal(got.raw, TARGET.scores(X))
    assert torch.equal(both.answer(X), TARGET.answer(X))
    assert torch.equal(both.scores(X), TARGET.scores(X))
