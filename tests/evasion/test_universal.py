"""Universal perturbations of linear models, whose best one is known, and of digits."""

from dataclasses import replace

import pytest
import torch

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.core.record import ThreatModel
from holdfast.core.run import Run
from holdfast.core.space import Box
from holdfast.engine.case import Case
from holdfast.engine.universal import apply, assess, craft
from holdfast.evasion.attacks.universal import UniversalPerturbation
from tests.oracles import problem, two_class
from tests.toys import LinearTarget


def one_side(shape: tuple[int, ...] = (24,)) -> tuple[LinearTarget, Dataset]:
    """Rows of a two-class linear model that all lie on one side of its boundary."""
    target, x = two_class(shape, n=40)
    x = x[target.answer(x) == 0]
    return target, Dataset("side", x, target.answer(x), ("a", "b"))


def steepest(target: LinearTarget, norm: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Unit change that raises class 1 against class 0 most."""
    way = (target.weight[:, 1] - target.weight[:, 0]).view(shape)
    return way.sign() if norm == "linf" else way / way.norm()


@pytest.mark.parametrize("shape", [(24,), (1, 4, 6)])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("wanted", [None, 1])
def test_it_is_the_steepest_change_and_fools_exactly_the_rows_within_reach(
    norm: str, shape: tuple[int, ...], wanted: int | None
) -> None:
    target, data = one_side(shape)
    far = target.distance(data.tensor, norm)
    eps = float(far.median()) * 1.001
    method = UniversalPerturbation(norm=norm, eps=eps, steps=40)
    made = craft(method, target, data, wanted, Run())
    assert torch.allclose(made.delta.delta, eps * steepest(target, norm, shape), atol=1e-4 * eps)
    moved = apply(made.delta, data.tensor, target, Run())
    assert torch.equal(target.answer(moved) == 1, far < eps)
    assert (made.forwards, made.backwards) == (40 * 64, 40 * 64)


def test_every_change_on_the_way_is_within_its_norm() -> None:
    target, x = problem(classes=4)
    data = Dataset("rows", x, target.answer(x), tuple("abcd"))
    for norm, order in (("linf", torch.inf), ("l2", 2)):
        method = UniversalPerturbation(norm=norm, eps=0.03, steps=8)
        made = method.craft(target, data, None, torch.Generator().manual_seed(0))
        sizes = [float(torch.linalg.vector_norm(each.delta, order)) for each in made]
        assert len(sizes) == 8
        assert max(sizes) <= 0.03 * (1 + 1e-5)
        assert sizes[-1] > 0.02


def test_the_first_step_is_the_mean_gradient_without_the_rows_above_the_clip() -> None:
    """Three of four rows are already misread by far: without them the last one gives the way."""
    weight = torch.tensor([[-20.0, 20.0], [0.0, 0.0], [0.0, 0.0]])
    target = LinearTarget(weight, torch.zeros(2), Box(-1.0, 1.0))
    x = torch.tensor([[0.9, 0.0, 0.0]] * 3 + [[-0.1, 0.0, 0.0]])
    data = Dataset("rows", x, torch.tensor([0, 0, 0, 1]), ("a", "b"), target.space)

    def first(clip: float) -> torch.Tensor:
        method = UniversalPerturbation(norm="l2", eps=0.1, steps=1, batch=200, clip=clip)
        return craft(method, target, data, None, Run()).delta.delta

    # all rows are misread; the loss of the first three is 36 and they pull up, that of the last is 4
    assert first(100.0)[0].item() == pytest.approx(0.02, abs=1e-5)
    assert first(9.0)[0].item() == pytest.approx(-0.02, abs=1e-5)
    assert first(9.0)[1:].abs().max() == 0


def test_frozen_features_and_column_ranges_are_kept() -> None:
    target, data = one_side()
    scale = torch.logspace(-2, 3, 24)
    editable = torch.arange(24) % 3 > 0
    space = Box(torch.zeros(24), scale, scale, editable)
    wide = LinearTarget(target.weight / scale.unsqueeze(1), target.bias, space)
    data = data.with_rows(data.tensor * scale, data.y)
    made = craft(UniversalPerturbation(eps=0.05, steps=30), wide, data, None, Run())
    best = 0.05 * steepest(target, "linf", (24,)) * editable
    assert torch.allclose(made.delta.delta, best, atol=1e-5)
    moved = apply(made.delta, data.tensor, wide, Run())
    assert torch.equal(moved[:, ~editable], data.tensor[:, ~editable])
    assert torch.allclose((moved - data.tensor) / scale, best.expand_as(moved), atol=1e-4)


def test_without_rows_of_other_classes_there_is_nothing_to_move() -> None:
    target, data = one_side()
    with pytest.raises(NotApplicable, match="other than the wanted"):
        craft(UniversalPerturbation(), target, data, 0, Run())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_fools_digits_far_more_often_than_random_signs_of_its_size(
    norm: str, digits, digit_target
) -> None:
    method = UniversalPerturbation(norm=norm, eps={"linf": 0.2, "l2": 1.6}[norm], steps=60)
    evidence = assess(method, Case(digit_target, digits[1], ThreatModel("Gradients")), Run())
    found = {m.name: m for m in evidence.measurements}
    assert found["attack success"].value > 0.4
    assert found["attack success"].value > 5 * found["success of a random change"].value
    assert found["fooling rate"].n == 298
    assert found["accuracy with change"].value < 0.6 < found["clean accuracy"].value
    assert "success of a plain crop" not in found
    assert {"delta", "clean", "adversarial", "labels", "answers"} == evidence.tensors.keys()


def test_a_targeted_one_steers_digits_to_one_class(digits, digit_target) -> None:
    method = UniversalPerturbation(eps=0.25, steps=40, targeted=True)
    threat = replace(ThreatModel("Gradients"), wanted=3)
    evidence = assess(method, Case(digit_target, digits[1], threat), Run())
    found = {m.name: m.value for m in evidence.measurements}
    assert (evidence.tensors["answers"] == 3).all()
    assert found["attack success"] > 0.5
    assert found["success of a random change"] < 0.1
    assert "class is 3" in evidence.notes[0]
