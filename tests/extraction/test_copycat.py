"""Copycat: stolen labels make a copy, dealt-out ones do not, and every query is counted."""

import pytest
import torch
from torch import Tensor

from holdfast.core.errors import NotApplicable
from holdfast.core.recipe import Background
from holdfast.core.run import Run
from holdfast.core.space import Box
from holdfast.engine.extraction import Shuffled, steal
from holdfast.extraction.attacks.copycat import Copycat, _balanced


def blind(data, count: int = 300):
    """Rows without their labels."""
    rows = data.first(count)
    return rows.with_rows(rows.x, torch.zeros_like(rows.y))


def test_a_copy_agrees_on_rows_that_were_never_asked_about(digits, recipe, digit_target) -> None:
    test = digits[1]
    pool, judged = blind(test), test.tensor[300:]
    told = digit_target.answer(judged)
    copies, ledger = steal(Copycat(queries=600), digit_target, pool, Background(recipe), Run())
    assert [c.queries for c in copies] == [60, 180, 600]
    assert (ledger.forwards, ledger.backwards) == (600, 0)
    first, _, best = ((c.copy.answer(judged) == told).float().mean() for c in copies)
    assert best > 0.9
    assert best > first
    dealt, _ = steal(
        Copycat(queries=600), Shuffled(digit_target, Run()), pool, Background(recipe), Run()
    )
    assert (dealt[-1].copy.answer(judged) == told).float().mean() < 0.3


class Watched:
    """Answers class 1 to the darkest few inputs, and remembers what it was asked."""

    def __init__(self) -> None:
        self.space, self.asked = Box(), []

    def answer(self, x: Tensor) -> Tensor:
        self.asked.append(x)
        return (x.flatten(1).mean(1) > 0.34).long()


class Keeps:
    """A recipe that keeps what it is to train on."""

    digest = "keeps"

    def __init__(self) -> None:
        self.seen = []

    def train(self, data, seed):
        self.seen.append(data)
        return Watched()


def test_copies_are_trained_on_balanced_answers_and_never_on_the_true_labels(digits) -> None:
    target, recipe = Watched(), Keeps()
    pool = digits[1].first(100)  # with true labels, which must not matter
    steal(Copycat(queries=200), target, pool, Background(recipe), Run())
    asked = torch.cat(target.asked)
    assert len(asked) == 200
    assert Box().contains(asked).all()
    assert {x.numpy().tobytes() for x in asked[:100]} == {x.numpy().tobytes() for x in pool.tensor}
    for data in recipe.seen:
        assert torch.equal(data.y, Watched().answer(data.tensor))
        counts = data.y.bincount(minlength=2)
        assert counts[0] == counts[1] > 0


def test_balancing_repeats_rare_rows_and_drops_none() -> None:
    y = torch.tensor([0, 0, 0, 0, 2, 1, 2])
    rows = _balanced(y, torch.Generator().manual_seed(0))
    assert y[rows].bincount().tolist() == [4, 4, 4]
    assert set(rows.tolist()) == set(range(7))


def test_without_a_recipe_it_says_so(digits) -> None:
    with pytest.raises(NotApplicable, match="train copies"):
        steal(Copycat(), Watched(), digits[1], Background(), Run())
