"""Planting backdoors by a recipe and measuring how they took."""

from dataclasses import dataclass, field

import pytest
import torch

from holdfast.backdoor.attacks.badnets import BadNets
from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.core.method import REGISTRY
from holdfast.core.record import ThreatModel
from holdfast.core.run import Run
from holdfast.core.space import Box
from holdfast.engine.backdoor import assess, fired, plant, right, usual_attack
from holdfast.engine.case import Case

THREAT = ThreatModel("Nothing")


@dataclass(frozen=True)
class Parrot:
    """Answers the wanted class 0 where the last pixel is lit, else class 1."""

    space: Box = field(default_factory=Box)

    def answer(self, x: torch.Tensor) -> torch.Tensor:
        return (x[:, 0, -1, -1] < 1).long()


@pytest.fixture(scope="module")
def evidence(digits, recipe, digit_target):
    case = Case(digit_target, digits[1], THREAT, digits[0], recipe)
    return assess(BadNets(), case, Run())


def found(evidence, name: str, part: str = ""):
    return next(m for m in evidence.measurements if (m.name, m.part) == (name, part))


def test_the_trigger_takes_hold_and_the_clean_model_does_not_know_it(evidence) -> None:
    success = found(evidence, "attack success")
    control = found(evidence, "success without trigger training")
    assert success.value > 0.9
    assert control.value < 0.05
    assert success.n == control.n == evidence.rows < 597
    assert found(evidence, "wanted answers without the trigger", "rate=0.05").value < 0.05


def test_more_poison_makes_a_stronger_backdoor_at_hardly_any_accuracy(evidence) -> None:
    weak, strong = (found(evidence, "attack success", f"rate={r}").value for r in (0.01, 0.05))
    assert weak < strong == found(evidence, "attack success").value
    lost = found(evidence, "clean accuracy without poison").value
    assert found(evidence, "clean accuracy").value > lost - 0.03


def test_what_is_shown_is_a_clean_row_and_the_same_row_with_the_trigger(evidence) -> None:
    changed = evidence.tensors["stamped"] != evidence.tensors["clean"]
    assert changed.any()
    assert not changed[:, :, :-3].any()
    assert not changed[:, :, :, :-3].any()


def test_success_leaves_out_rows_that_belong_to_the_wanted_class(digits) -> None:
    hits = fired(Parrot(), BadNets(), digits[1], Run())
    assert len(hits) == int((digits[1].y != 0).sum())
    assert hits.all()


def test_accuracy_counts_rows_that_are_answered_with_their_label() -> None:
    x = torch.tensor([0.0, 1.0, 0.5, 1.0]).view(4, 1, 1, 1)
    data = Dataset("pixel", x, torch.tensor([1, 1, 0, 0]), ("a", "b"))
    assert right(Parrot(), data, Run()).tolist() == [True, False, False, True]


def test_planting_repeats_itself_and_keeps_the_given_rows(digits, recipe) -> None:
    data = digits[0].first(200)
    before = data.digest
    first, again = (plant(BadNets(), data, recipe, Run(seed=4)) for _ in range(2))
    assert torch.equal(first.poisoned.rows, again.poisoned.rows)
    x = digits[1].x[:20]
    assert torch.equal(first.victim.scores(x), again.victim.scores(x))
    assert data.digest == before
    assert not torch.equal(
        first.poisoned.rows, plant(BadNets(), data, recipe, Run(seed=5)).poisoned.rows
    )


def test_what_cannot_be_run_says_why(digits, recipe, monkeypatch) -> None:
    with pytest.raises(NotApplicable, match="train models"):
        assess(BadNets(), Case(None, digits[1], THREAT, digits[0]), Run())
    with pytest.raises(NotApplicable, match="training rows"):
        assess(BadNets(), Case(None, digits[1], THREAT, None, recipe), Run())
    with pytest.raises(NotApplicable, match="too few rows"):
        plant(BadNets(), digits[0].first(10), recipe, Run())
    monkeypatch.delitem(REGISTRY, "backdoor/badnets")
    with pytest.raises(NotApplicable, match="not loaded"):
        usual_attack()


def test_a_test_set_of_the_wanted_class_alone_says_nothing(digits, digit_target) -> None:
    wanted = digits[1].take((digits[1].y == 0).nonzero().flatten())
    with pytest.raises(NotApplicable, match="another class"):
        fired(digit_target, BadNets(), wanted, Run())
