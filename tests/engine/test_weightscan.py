"""Scans beside models that certainly hide a trigger and certainly do not."""

from dataclasses import dataclass

import pytest
import torch

import holdfast.backdoor.attacks.badnets  # noqa: F401  # plants the positive control
from holdfast.backdoor.defences.neural_cleanse import NeuralCleanse
from holdfast.core.dataset import Dataset
from holdfast.core.kinds import Suspicion, WeightScan
from holdfast.core.record import ThreatModel
from holdfast.core.run import Run
from holdfast.core.target import Gradients
from holdfast.engine.backdoor import plant, usual_attack
from holdfast.engine.case import Case
from holdfast.engine.ledger import Ledger
from holdfast.engine.weightscan import assess, scan
from holdfast.targets.training import ClassifierRecipe

THREAT = ThreatModel("Gradients")


def found(evidence, name: str, part: str = ""):
    return next(m.value for m in evidence.measurements if (m.name, m.part) == (name, part))


@pytest.fixture(scope="module")
def evidence(digits, digit_target, recipe):
    case = Case(digit_target, digits[1], THREAT, digits[0], recipe)
    return assess(NeuralCleanse(steps=100), case, Run())


def test_a_clean_model_passes_beside_a_planted_copy_that_does_not(evidence) -> None:
    limit = found(evidence, "anomaly limit")
    assert (
        found(evidence, "anomaly index")
        < limit
        < found(evidence, "anomaly index of a planted copy")
    )
    assert found(evidence, "anomaly index of a clean copy") < limit
    assert found(evidence, "suspicious classes") == 0


def test_the_evidence_names_the_worst_class_and_keeps_every_mask(evidence) -> None:
    index = evidence.tensors["index"]
    worst = int(index.argmax())
    assert found(evidence, "anomaly index", f"class={worst}") == pytest.approx(float(index.max()))
    assert evidence.tensors["mask"].shape == evidence.tensors["pattern"].shape == (10, 1, 8, 8)
    assert evidence.backwards == 100 * 10 * 32


def test_the_recovered_mask_of_a_planted_model_lies_on_the_patch(digits, recipe) -> None:
    planted = plant(usual_attack(), digits[0], recipe, Run(seed=2))
    got = scan(NeuralCleanse(), planted.victim, digits[1].first(100), Run(), Ledger())
    assert (got.index > got.limit).nonzero().flatten().tolist() == [0]
    mask = got.tensors["mask"][0, 0]
    assert mask[-3:, -3:].sum() > 0.5 * mask.sum()
    sizes = got.tensors["mask"].flatten(1).sum(1)
    assert sizes[0] < 0.7 * sizes.median()


def test_without_a_recipe_the_model_is_scanned_and_the_missing_control_told(
    digits, digit_target
) -> None:
    evidence = assess(NeuralCleanse(steps=3), Case(digit_target, digits[1], THREAT), Run())
    assert {m.name for m in evidence.measurements} == {
        "anomaly index", "suspicious classes", "anomaly limit",
    }  # fmt: skip
    assert any("no positive control" in note for note in evidence.notes)


@dataclass(frozen=True)
class Alarmist(WeightScan[Gradients]):
    """Suspects class 0 of every model."""

    def scan(self, target: Gradients, clean: Dataset, rng: torch.Generator) -> Suspicion:
        return Suspicion(torch.tensor([9.0, 0.0]), 2.0, {})


def test_controls_that_say_nothing_are_told(digits, digit_target, recipe, monkeypatch) -> None:
    """A clean copy that is suspected too, and a planted one that ignores its trigger."""
    idle = torch.zeros(10, dtype=torch.bool)
    monkeypatch.setattr("holdfast.engine.weightscan.fired", lambda *_: idle)
    quick = ClassifierRecipe(recipe.factory, epochs=1)
    case = Case(digit_target, digits[1], THREAT, digits[0].first(100), quick)
    evidence = assess(Alarmist(), case, Run())
    assert found(evidence, "suspicious classes") == 1
    assert any("means little" in note for note in evidence.notes)
    assert any("in 0% of rows only" in note for note in evidence.notes)


def test_the_scan_repeats_itself(digits, digit_target) -> None:
    clean = digits[1].first(50)
    first, again = (
        scan(NeuralCleanse(steps=5), digit_target, clean, Run(seed=1), Ledger()) for _ in range(2)
    )
    assert torch.equal(first.index, again.index)


def test_too_few_training_rows_cost_the_control_alone(digits, digit_target, recipe) -> None:
    few = digits[0].first(10)
    case = Case(digit_target, digits[1].first(40), THREAT, few, recipe)
    got = assess(NeuralCleanse(steps=3), case, Run())
    assert found(got, "anomaly index") is not None
    assert any("without positive control" in note for note in got.notes)
