"""Judging filters whose quality is known, and activation clustering on planted digits."""

from dataclasses import dataclass

import pytest
import torch
from torch import Generator, Tensor

from holdfast.backdoor.attacks.badnets import BadNets
from holdfast.backdoor.defences.activation_clustering import ActivationClustering
from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError
from holdfast.core.kinds import DataFilter
from holdfast.core.record import ThreatModel
from holdfast.core.run import Run
from holdfast.core.target import Features
from holdfast.engine.case import Case
from holdfast.engine.datafilter import assess, suspects
from holdfast.engine.ledger import Ledger

THREAT = ThreatModel("Nothing")


@dataclass(frozen=True)
class Corner(DataFilter[Features]):
    """Takes every row whose corner is fully lit: it finds all that is planted."""

    def suspect(self, target: Features, data: Dataset, rng: Generator) -> Tensor:
        return (data.tensor[:, :, -3:, -3:] == 1).flatten(1).all(1)


@dataclass(frozen=True)
class Nobody(DataFilter[Features]):
    """Suspects no row."""

    def suspect(self, target: Features, data: Dataset, rng: Generator) -> Tensor:
        return torch.zeros(len(data), dtype=torch.bool)


def found(evidence, name: str, part: str = ""):
    return next(m for m in evidence.measurements if (m.name, m.part) == (name, part))


def judge(method, digits, digit_target, recipe):
    return assess(method, Case(digit_target, digits[1], THREAT, digits[0], recipe), Run())


def test_a_perfect_filter_is_judged_perfect_and_ends_the_backdoor(
    digits, digit_target, recipe
) -> None:
    evidence = judge(Corner(), digits, digit_target, recipe)
    for part in ("rate=0.05", "rate=0.1"):
        assert found(evidence, "recall of planted rows", part).value == 1
        assert found(evidence, "precision", part).value == 1
    assert found(evidence, "recall of planted rows", "rate=0.05").n == 60
    assert found(evidence, "attack success", "before").value > 0.9
    assert found(evidence, "attack success", "after").value < 0.05
    assert found(evidence, "false alarms on clean data").value == 0


def test_a_filter_that_does_nothing_leaves_the_backdoor(digits, digit_target, recipe) -> None:
    evidence = judge(Nobody(), digits, digit_target, recipe)
    assert found(evidence, "recall of planted rows", "rate=0.05").value == 0
    before, after = (found(evidence, "attack success", part).value for part in ("before", "after"))
    assert after == before > 0.9
    assert "precision" not in {m.name for m in evidence.measurements}
    assert any("precision is not defined" in note for note in evidence.notes)


def test_activation_clustering_finds_planted_digits_and_few_clean_ones(
    digits, digit_target, recipe
) -> None:
    evidence = judge(ActivationClustering(), digits, digit_target, recipe)
    assert found(evidence, "recall of planted rows", "rate=0.05").value > 0.4
    assert found(evidence, "false alarms on clean data").value < 0.1
    assert evidence.forwards >= 3 * 1200


def test_a_filter_must_answer_one_boolean_per_row(digits, digit_target) -> None:
    @dataclass(frozen=True)
    class Scores(DataFilter[Features]):
        """Gives numbers instead of answers."""

        def suspect(self, target: Features, data: Dataset, rng: Generator) -> Tensor:
            return torch.zeros(len(data))

    with pytest.raises(InputError, match="one Boolean per row"):
        suspects(Scores(), digit_target, digits[0].first(5), Run(), Ledger())


def test_a_backdoor_that_did_not_take_is_told(digits, digit_target, recipe, monkeypatch) -> None:
    faint = BadNets(size=1, value=0.1)
    monkeypatch.setattr("holdfast.engine.datafilter.usual_attack", lambda: faint)
    evidence = judge(Nobody(), digits, digit_target, recipe)
    assert any("did not take" in note for note in evidence.notes)
