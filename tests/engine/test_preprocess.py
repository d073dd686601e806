"""The preprocessor's runner: who does not know it, who knows it, and what the bare model does."""

from dataclasses import dataclass

import pytest
import torch

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.core.goal import AwayFrom
from holdfast.core.kinds import Preprocessor
from holdfast.core.record import ThreatModel
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.case import Case
from holdfast.engine.evasion import answers, attack
from holdfast.engine.preprocess import assess
from holdfast.evasion.attacks.pgd import PGD
from holdfast.evasion.defences.jpeg import JPEG
from holdfast.targets.wrappers import Defended
from tests.toys import LinearTarget

LINF = ThreatModel("Gradients", measure="linf", eps=(0.05, 0.1))


@dataclass(frozen=True)
class Identity(Preprocessor):
    """Does nothing."""

    def apply(self, x, rng):
        return x


@dataclass(frozen=True)
class Levels(Preprocessor):
    """Rounds to nine levels, which has no useful gradient."""

    def apply(self, x, rng):
        return (8 * x).round() / 8


def values(evidence) -> dict[str, float]:
    return {f"{m.name} {m.part}".strip(): m.value for m in evidence.measurements}


def line(count: int = 40) -> tuple[LinearTarget, Dataset]:
    target = LinearTarget.two_class(12)
    x = torch.rand(count, 12, generator=torch.Generator().manual_seed(0))
    return target, Dataset("line", x, target.answer(x), ("low", "high"))


def test_the_identity_changes_no_number() -> None:
    target, data = line()
    found = values(assess(Identity(), Case(target, data, LINF), Run()))
    assert found["clean accuracy"] == found["clean accuracy (undefended)"] == 1.0
    for eps in ("eps=0.05", "eps=0.1"):
        exact = float((target.distance(data.tensor, "linf") > float(eps[4:])).float().mean())
        assert found[f"robust accuracy {eps}"] == pytest.approx(exact, abs=0.03)
        assert found[f"robust accuracy (undefended) {eps}"] == pytest.approx(exact, abs=0.03)
        assert found[f"robust accuracy (non-adaptive) {eps}"] >= found[f"robust accuracy {eps}"]


def test_rounding_fools_who_does_not_know_it_but_not_who_does() -> None:
    target, data = line(200)
    threat = ThreatModel("Gradients", measure="linf", eps=(0.1,))
    found = values(assess(Levels(), Case(target, data, threat), Run()))
    knows, unknowing = (found[f"robust accuracy{kind} eps=0.1"] for kind in ("", " (non-adaptive)"))
    assert knows < unknowing
    assert knows == pytest.approx(found["robust accuracy (undefended) eps=0.1"], abs=0.2)


def test_jpeg_protects_digits_from_no_one_who_knows_of_it(digits, digit_target) -> None:
    data = digits[1].first(150)
    threat = ThreatModel("Gradients", measure="linf", eps=(0.1, 0.2))
    evidence = assess(JPEG(), Case(digit_target, data, threat), Run())
    found = values(evidence)
    for eps in ("eps=0.1", "eps=0.2"):
        assert (
            found[f"robust accuracy {eps}"] < found[f"robust accuracy (non-adaptive) {eps}"] - 0.1
        )
        bare = found[f"robust accuracy (undefended) {eps}"]
        assert found[f"robust accuracy {eps}"] == pytest.approx(bare, abs=0.1)
    assert found["robust accuracy eps=0.2"] <= found["robust accuracy eps=0.1"]
    assert found["clean accuracy"] > 0.9
    kept, defended = evidence.tensors, Defended(digit_target, JPEG())
    assert (kept["answers"] != kept["labels"]).all()
    assert torch.equal(answers(defended, kept["adversarial"], Run()), kept["answers"])
    assert (kept["adversarial"] - kept["clean"]).abs().max() <= 0.2 * (1 + 1e-4)


def test_gradients_through_jpeg_alone_already_beat_transfer(digits, digit_target) -> None:
    data, defended = digits[1].first(100), Defended(digit_target, JPEG())
    rows = (answers(defended, data.tensor, Run()) == data.y).nonzero().flatten()
    x, goal = data.tensor[rows], AwayFrom(data.y[rows])
    budget, method = Budget("linf", 0.1), PGD()
    aware = attack(method, defended, x, goal, budget, Run()).success.float().mean()
    sent = attack(method, digit_target, x, goal, budget, Run()).x
    unaware = (answers(defended, sent, Run()) != goal.labels).float().mean()
    assert aware > unaware + 0.1


def test_tables_and_models_without_gradients_are_not_applicable() -> None:
    target, data = line()
    with pytest.raises(NotApplicable, match="images"):
        assess(JPEG(), Case(target, data, LINF), Run())

    class Closed:
        space, answer = target.space, target.answer

    with pytest.raises(NotApplicable, match="gradients"):
        assess(Identity(), Case(Closed(), data, LINF), Run())
    threat = ThreatModel("Gradients", measure="words", eps=(0.1,))
    with pytest.raises(NotApplicable, match="words"):
        assess(Identity(), Case(target, data, threat), Run())
