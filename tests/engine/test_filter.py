"""The output-filter runner: what the filter costs, and what attacks still learn through it."""

from dataclasses import replace

import pytest
import torch

from holdfast.core.errors import NeedsError, NotApplicable
from holdfast.core.method import REGISTRY
from holdfast.core.record import ThreatModel
from holdfast.core.run import Run
from holdfast.engine.case import Case
from holdfast.engine.filter import assess
from holdfast.engine.membership import gap_accuracy, score
from holdfast.extraction.attacks.copycat import Copycat
from holdfast.extraction.attacks.equation_solving import EquationSolving
from holdfast.ops.stats import auc
from holdfast.privacy.attacks.loss_threshold import LossThreshold
from holdfast.privacy.defences.truncate import Truncate
from holdfast.targets.wrappers import Filtered

THREAT = ThreatModel("Scores")
JUDGES = (LossThreshold, EquationSolving, Copycat)


@pytest.fixture(scope="module")
def case(digits, recipe, digit_target) -> Case:
    return Case(digit_target, digits[1], THREAT, digits[0], recipe)


@pytest.fixture(scope="module")
def hard(case) -> dict:
    """What labels alone give."""
    return named(assess(Truncate(label_only=True), case, Run()))


def named(evidence) -> dict:
    return {m.name: m for m in evidence.measurements}


def test_labels_alone_cost_an_honest_caller_exactly_the_rest_of_the_mass(case, hard) -> None:
    p = case.target.scores(case.test.tensor).double().softmax(1)
    change = hard["mean change of the probabilities"]
    assert change.value == pytest.approx(float(2 * (1 - p.amax(1)).mean()), abs=1e-6)
    assert hard["changed answers"].value == 0
    assert hard["clean accuracy"].value == hard["clean accuracy (undefended)"].value


def test_with_labels_alone_the_loss_threshold_falls_to_the_gap_attack(case, hard) -> None:
    """All losses are one of two: with ties counted half, the area is that attack's accuracy."""
    filtered = replace(case, target=Filtered(case.target, Truncate(label_only=True)))
    drawn, scores, _ = score(LossThreshold(), filtered, Run())
    n, right = drawn.members, case.target.answer(drawn.scored.tensor) == drawn.scored.y
    scores = scores.round(6)  # the softmax of the same numbers in another order
    assert len(set(scores.tolist())) == 2
    assert auc(scores[:n], scores[n:]) == pytest.approx(gap_accuracy(right[:n], right[n:]))
    assert hard["area under the curve"].value == pytest.approx(
        auc(scores[:n], scores[n:]), abs=0.03
    )


def test_rounding_leaves_extraction_by_labels_as_it_was_and_equations_little_worse(case) -> None:
    found = named(assess(Truncate(decimals=1), case, Run()))
    assert (
        found["agreement of copycat"].value
        == found["agreement of copycat (undefended)"].value
        > 0.7
    )
    fine, coarse = (found[f"agreement of equation solving{s}"].value for s in (" (undefended)", ""))
    assert fine > 0.85
    assert coarse > fine - 0.2


def test_a_filter_that_does_nothing_changes_nothing(case) -> None:
    before = {k: v.clone() for k, v in case.target.module.state_dict().items()}
    found = named(assess(Truncate(decimals=-1), case, Run()))
    assert all(torch.equal(v, before[k]) for k, v in case.target.module.state_dict().items())
    assert found["mean change of the probabilities"].value == pytest.approx(0, abs=1e-6)
    for name, m in found.items():
        if f"{name} (undefended)" in found:
            assert m.value == pytest.approx(found[f"{name} (undefended)"].value, abs=0.01)


def test_without_training_rows_membership_is_left_out_and_said_so(digits, digit_target) -> None:
    evidence = assess(Truncate(), Case(digit_target, digits[1], THREAT), Run())
    found = named(evidence)
    assert "area under the curve" not in found
    assert "agreement of equation solving" in found
    assert "agreement of copycat" not in found
    notes = " ".join(evidence.notes)
    assert "privacy/loss_threshold was not tried: needs the training rows" in notes
    assert "extraction/copycat was not tried: needs to train copies" in notes


def test_it_needs_scores_and_its_judges(case, monkeypatch) -> None:
    with pytest.raises(NeedsError, match="scores"):
        assess(Truncate(), Case(object(), case.test, THREAT), Run())
    monkeypatch.delitem(REGISTRY, "extraction/equation_solving")
    with pytest.raises(NotApplicable, match="equation_solving"):
        assess(Truncate(), case, Run())
