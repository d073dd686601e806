"""The extraction runner: fresh rows judge, queries are counted, controls stand beside."""

import pytest
import torch
from torch import nn

from holdfast.core.errors import NotApplicable
from holdfast.core.record import ThreatModel
from holdfast.core.run import Run
from holdfast.engine.case import Case
from holdfast.engine.extraction import Shuffled, assess
from holdfast.extraction.attacks.copycat import Copycat
from holdfast.extraction.attacks.equation_solving import EquationSolving
from holdfast.targets.training import ClassifierRecipe

THREAT = ThreatModel("Scores")


@pytest.fixture(scope="module")
def linear(digits):
    """A softmax regression on digits and its recipe."""
    recipe = ClassifierRecipe(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), epochs=15, rate=1e-2
    )
    return recipe.train(digits[0], 0), recipe


def test_a_regression_is_copied_and_both_controls_are_not(digits, linear) -> None:
    target, recipe = linear
    evidence = assess(EquationSolving(), Case(target, digits[1], THREAT, recipe=recipe), Run())
    found = {(m.name, m.part): m for m in evidence.measurements}
    assert found["agreement", ""].value == 1
    assert found["agreement", "queries=65"].value == 1
    assert found["agreement", ""].n == evidence.rows == 299
    assert found["queries", ""].value == 65
    assert found["agreement on uniform inputs", ""].value == 1
    assert found["copy accuracy", ""].value == found["clean accuracy", ""].value > 0.9
    assert found["agreement of the control", ""].high < 0.35
    assert found["agreement of the commonest answer", ""].high < 0.25
    assert evidence.tensors["queries"].tolist() == [65]
    assert evidence.tensors["agreement"].tolist() == [1]


class Blind:
    """A method that asks once about every row of its pool, and copies nothing."""

    def __init__(self, target) -> None:
        self.target, self.pool = target, None

    def steal(self, target, pool, background, rng):
        self.pool = pool
        yield self.target


def test_the_pool_has_no_labels_and_none_of_the_rows_that_judge(
    digits, linear, monkeypatch
) -> None:
    method = Blind(linear[0])
    monkeypatch.setattr("holdfast.engine.extraction.view", lambda method, target, ledger: target)
    judged = []
    monkeypatch.setattr(
        "holdfast.engine.extraction.answers",
        lambda target, x, run: judged.append(x) or target.answer(x),
    )
    assess(method, Case(linear[0], digits[1], THREAT), Run())
    assert not method.pool.y.any()
    own, others = ({row.numpy().tobytes() for row in x} for x in (method.pool.tensor, judged[0]))
    assert len(own | others) == len(own) + len(others) >= 596


def test_the_allowance_is_a_total_and_the_best_copy_so_far_stands(digits, linear) -> None:
    target, recipe = linear
    case = Case(target, digits[1], THREAT, recipe=recipe)
    evidence = assess(Copycat(queries=400), case, Run(queries=150))
    assert evidence.forwards <= 150
    assert evidence.tensors["queries"].tolist() == [40, 120]
    with pytest.raises(NotApplicable, match="too few"):
        assess(Copycat(queries=400), case, Run(queries=30))


def test_shuffled_answers_are_the_same_answers_on_other_rows(digits, linear) -> None:
    x = digits[1].tensor
    dealt, told = Shuffled(linear[0], Run()).answer(x), linear[0].answer(x)
    assert torch.equal(dealt.bincount(), told.bincount())
    assert (dealt == told).float().mean() < 0.2


def test_it_needs_rows_and_a_recipe(digits, linear) -> None:
    with pytest.raises(NotApplicable, match="held-out rows"):
        assess(EquationSolving(), Case(linear[0], digits[1].first(30), THREAT), Run())
    with pytest.raises(NotApplicable, match="factory"):
        assess(Copycat(), Case(linear[0], digits[1], THREAT), Run())
