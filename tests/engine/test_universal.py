"""The universal runner: other rows than it was made from, and controls of the same shape."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor, nn

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import UniversalAttack
from holdfast.core.record import ThreatModel
from holdfast.core.run import Run
from holdfast.core.target import Scores
from holdfast.engine.case import Case
from holdfast.engine.universal import _controls, apply, assess, craft
from holdfast.evasion.attacks.patch import AdversarialPatch
from holdfast.targets.torch import TorchClassifier
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
    assert found["accuracy with change"].n == 40
    assert found["accuracy with change"].value == 1 - evidence.rows / 40
    assert found["success of a random change"].value < 1
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
    assert found["accuracy with patch"].value < found["clean accuracy in views"].value
    assert found["attack success, digital"].value > found["success of a random patch"].value
    assert {"delta", "mask", "clean", "adversarial"} <= evidence.tensors.keys()


def images(count: int = 60, side: int = 8) -> tuple[TorchClassifier, Dataset]:
    """Grey images; class 1 where the mean is above one half."""
    x = 0.3 + 0.4 * torch.rand(count, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    x = x.expand(count, 1, side, side).contiguous()
    net = nn.Sequential(nn.Flatten(), nn.Linear(side * side, 2))
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[-1.0], [1.0]]).expand(2, side * side) / side**2)
        net[1].bias.copy_(torch.tensor([0.5, -0.5]))
    target = TorchClassifier(net)
    return target, Dataset("greys", x, target.answer(x), ("dark", "light"))


@dataclass(frozen=True)
class Paint:
    """Covers whole images with one picture."""

    delta: Tensor

    def apply(self, x, rng):
        return self.delta.expand_as(x)

    def refilled(self, content):
        return replace(self, delta=content)

    def tensors(self):
        return {"delta": self.delta}


@dataclass(frozen=True)
class Brush(UniversalAttack[Scores]):
    """Paints everything in one grey; where in the world is a class attribute of its kinds."""

    grey: float = 0.53
    targeted: bool = True
    steps: int = 1

    def craft(self, target, data, wanted, rng) -> Iterator[Paint]:
        yield Paint(torch.full((1, 8, 8), self.grey))


@dataclass(frozen=True)
class OnObject(Brush):
    thing, physical = "paint", "object"


@dataclass(frozen=True)
class OnLens(Brush):
    thing, physical = "film", "lens"


def test_views_change_what_is_on_the_object_and_not_what_is_on_the_lens() -> None:
    target, data = images()
    content = Paint(torch.full((1, 8, 8), 0.53))
    on_object, on_lens, in_file = (
        apply(content, data.tensor, target, Run(), where) for where in ("object", "lens", "")
    )
    assert torch.equal(on_lens, in_file)
    assert (on_lens == 0.53).all()
    assert on_object.mean((1, 2, 3)).std() > 0.02
    bare = [apply(None, data.tensor, target, Run(), where) for where in ("object", "lens")]
    assert torch.equal(*bare)
    assert not torch.equal(bare[0], data.tensor)
    assert torch.equal(apply(None, data.tensor, target, Run()), data.tensor)


def test_physical_changes_are_judged_in_views_and_digitally_with_the_views_alone_beside() -> None:
    target, data = images()
    found = [
        {m.name: m for m in assess(kind(), Case(target, data, light), Run()).measurements}
        for kind in (OnObject, OnLens)
        for light in (replace(ANYONE, wanted=1),)
    ]
    assert found[0]["attack success, digital"].value == 1.0
    assert 0.5 < found[0]["attack success"].value < 1.0  # the darkest views undo it
    assert found[1]["attack success"].value == 1.0
    assert 0 < found[0]["success without paint"].value < 0.5
    assert found[0]["clean accuracy in views"].value < found[0]["clean accuracy"].value == 1.0
    assert {"accuracy with film", "success of a random film"} <= found[1].keys()


def test_views_are_of_images_only() -> None:
    target, data = larger()
    with pytest.raises(NotApplicable, match="images"):
        apply(Added(torch.zeros(2)), data.tensor, target, Run(), "object")


def test_without_a_wanted_class_every_wrong_answer_counts_and_changed_ones_are_the_fooling_rate() -> (
    None
):
    target, data = images()
    wrong = data.with_rows(data.tensor, torch.where(torch.arange(60) < 6, 1 - data.y, data.y))
    evidence = assess(Brush(targeted=False), Case(target, wrong, ANYONE), Run())
    found = {m.name: m for m in evidence.measurements}
    right = int(found["clean accuracy"].value * 30 + 0.5)
    assert found["attack success"].n == evidence.rows == right < 30
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0)).tensor_split(2)[1]
    held = wrong.take(order)
    before = target.answer(held.tensor)
    assert found["fooling rate"].value == pytest.approx(float((before == 0).float().mean()))
    judged = before == held.y
    fooled = (before == 0)[judged].float().mean()  # all are answered as light now
    assert found["attack success"].value == pytest.approx(float(fooled))
    assert "success of a plain crop" not in found
    assert "any class" in evidence.notes[0]


def test_the_class_of_the_threat_model_is_the_only_one_tried() -> None:
    target, data = larger()
    method = Push()
    evidence = assess(method, Case(target, data, replace(ANYONE, wanted=0)), Run())
    assert [wanted for _, wanted in method.seen] == [0]
    assert evidence.notes == ("the wanted class is first",)


def test_the_control_of_an_added_change_has_its_sizes_and_random_signs() -> None:
    target, data = larger()

    @dataclass(frozen=True)
    class Small(Push):
        adds = True

        def craft(self, target, data, wanted, rng):
            yield Added(torch.tensor([-0.7, 0.7]))

    evidence = assess(Small(), Case(target, data, replace(ANYONE, wanted=1)), Run())
    found = {m.name: m.value for m in evidence.measurements}
    assert found["attack success"] == 1.0
    assert "success of a plain crop" not in found
    content = _controls(Small(), torch.tensor([-0.7, 0.7]).repeat(50), data, 1, Run())
    (name,) = content
    assert name == "success of a random change"
    assert torch.equal(content[name].abs(), torch.full((100,), 0.7))
    assert 30 < (content[name] > 0).sum() < 70


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
