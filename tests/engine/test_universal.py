"""The universal runner: other rows than it was made from, and controls of the same shape."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import UniversalAttack
from holdfast.core.record import ThreatModel
from holdfast.core.run import Run
from holdfast.core.target import Scores
from holdfast.engine.case import Case
from holdfast.engine.universal import apply, assess, craft
from holdfast.evasion.attacks.patch import AdversarialPatch
from tests.toys import LinearTarget

ANYONE = ThreatModel("Gradients")


@dataclass(frozen=True)
class Added:
    """Adds the same numbers to every input."""

    delta: Tensor

    def apply(self, x, rng):
        return x + self.delta

    def refilled(self, content):
        return replace(self, delta=content)

    def tensors(self):
        return {"delta": self.delta}


@dataclass(frozen=True)
class Push(UniversalAttack[Scores]):
    """Adds more and more to one feature; notes the data and the class it is given."""

    steps: int = 4
    seen: list[tuple[Dataset, int]] = field(default_factory=list)

    def craft(self, target, data, wanted, rng) -> Iterator[Added]:
        self.seen.append((data, wanted))
        for step in range(1, self.steps + 1):
            target.scores(data.tensor)
            delta = torch.zeros(2)
            delta[wanted] = 0.25 * step
            yield Added(delta)


def larger() -> tuple[LinearTarget, Dataset]:
    """Two features in [0, 0.5]; the answer is the larger one. Rows of class 1 are rarer."""
    x = 0.5 * torch.rand(80, 2, generator=torch.Generator().manual_seed(0))
    target = LinearTarget(torch.eye(2), torch.tensor([0.1, 0.0]))
    return target, Dataset("pairs", x, target.answer(x), ("first", "second"))


def test_the_rows_it_is_made_from_are_not_those_it_is_judged_on() -> None:
    target, data = larger()
    method = Push()
    evidence = assess(method, Case(target, data, ANYONE), Run())
    own = {tuple(row) for row in method.seen[0][0].tensor.tolist()}
    shown = {tuple(row) for row in evidence.tensors["clean"].tolist()}
    assert len(own) == 40
    assert shown
    assert not own & shown
    assert [wanted for _, wanted in method.seen] == [0, 1]
    assert assess(Push(), Case(target, data, ANYONE), Run()).measurements == evidence.measurements


def test_the_last_change_counts_and_success_is_measured_on_other_classes_only() -> None:
    target, data = larger()
    evidence = assess(Push(), Case(target, data, ANYONE), Run())
    found = {m.name: m for m in evidence.measurements}
    assert found["attack success"].value == 1.0  # adding one decides every pair below one half
    assert found["attack success"].n == evidence.rows < 40
    assert found["clean accuracy"].value == 1.0
    assert found["accuracy with patch"].n == 40
    assert found["accuracy with patch"].value == 1 - evidence.rows / 40
    assert found["success of a random patch"].value < 1
    assert "the wanted class is" in evidence.notes[0]


def test_the_class_for_which_it_works_best_is_judged() -> None:
    target, data = larger()

    @dataclass(frozen=True)
    class OneWay(Push):
        def craft(self, target, data, wanted, rng):
            yield Added(torch.tensor([0.0, 0.9 if wanted == 1 else 0.0]))

    evidence = assess(OneWay(), Case(target, data, ANYONE), Run())
    assert "second" in evidence.notes[0]
    assert (evidence.tensors["answers"] == 1).all()
    assert (evidence.tensors["labels"] == 0).all()


def test_an_allowance_is_in_passes_per_row_and_the_best_so_far_stands() -> None:
    target, data = larger()
    made = craft(Push(), target, data, 1, Run(queries=2))
    assert made.forwards == 160
    assert made.delta.delta.tolist() == [0.0, 0.5]
    assert craft(Push(), target, data, 1, Run(queries=0)).delta is None
    with pytest.raises(NotApplicable, match="queries"):
        assess(Push(), Case(target, data, ANYONE), Run(queries=0))


def test_changed_inputs_are_valid_and_the_same_every_time() -> None:
    target, data = larger()
    moved = apply(Added(torch.tensor([3.0, 0.0])), data.tensor, target, Run(batch_size=7))
    assert (moved[:, 0] == 1).all()
    assert torch.equal(moved[:, 1], data.tensor[:, 1])


def test_with_one_class_only_there_is_nothing_to_judge() -> None:
    target, data = larger()
    one = data.take((data.y == 0).nonzero().flatten())
    with pytest.raises(NotApplicable, match="two classes"):
        assess(Push(), Case(target, one, ANYONE), Run())


def test_a_patch_beats_its_controls_on_digits(digits, digit_target) -> None:
    case = Case(digit_target, digits[1], ANYONE)
    evidence = assess(AdversarialPatch(share=0.25, round=False, steps=40), case, Run())
    found = {m.name: m for m in evidence.measurements}
    assert found["attack success"].value > 2 * found["success of a random patch"].value
    assert found["attack success"].value > found["success of a plain crop"].value
    assert found["accuracy with patch"].value < found["clean accuracy"].value
    assert {"delta", "mask", "clean", "adversarial"} <= evidence.tensors.keys()


def test_a_class_that_the_model_answers_anyway_is_no_success_of_the_change() -> None:
    """The model answers "first" always: nothing is left to judge for it, but "second" is."""
    _, data = larger()
    stubborn = LinearTarget(torch.eye(2), torch.tensor([0.5, 0.0]))

    @dataclass(frozen=True)
    class Strong(Push):
        def craft(self, target, data, wanted, rng):
            yield Added(torch.eye(2)[wanted])

    evidence = assess(Strong(), Case(stubborn, data, ANYONE), Run())
    found = {m.name: m.value for m in evidence.measurements}
    assert "second" in evidence.notes[0]
    assert found["attack success"] == 1.0
