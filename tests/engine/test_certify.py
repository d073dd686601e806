"""The runner of certifiers counts right and puts certain certificates to the test."""

from dataclasses import dataclass

import pytest
import torch
from torch import Generator, Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NeedsError, NotApplicable
from holdfast.core.kinds import Certifier
from holdfast.core.record import Measurement, ThreatModel
from holdfast.core.run import Run
from holdfast.core.target import Gradients
from holdfast.engine.case import Case, Evidence
from holdfast.engine.certify import assess
from holdfast.trust.certifiers.ibp import IBP
from holdfast.trust.certifiers.randomized_smoothing import RandomizedSmoothing
from tests.toys import LinearTarget


@dataclass(frozen=True)
class Exact(Certifier[Gradients]):
    """The true distance of the toy times a factor: above one, its certificates are wrong."""

    measure = "linf"
    factor: float = 1.0

    def radius(self, target: Gradients, x: Tensor, y: Tensor, rng: Generator) -> Tensor:
        true = LinearTarget.two_class(x.shape[1]).distance(x, "linf") * self.factor
        return true.masked_fill(target.answer(x) != y, -1)


def data() -> Dataset:
    x = torch.tensor([0.52, 0.56, 0.58, 0.65, 0.4, 0.45])[:, None].expand(6, 4).clone()
    return Dataset("line", x, torch.tensor([1, 1, 1, 1, 0, 1]), ("low", "high"))


def run(method: Certifier, measure: str | None = "linf", target: object = None) -> Evidence:
    threat = ThreatModel("Answers", measure=measure, eps=(0.05, 0.1))
    return assess(
        method, Case(target or LinearTarget.two_class(4), data(), threat), Run(batch_size=4)
    )


def find(got: Evidence, name: str, part: str = "") -> Measurement:
    return next(m for m in got.measurements if (m.name, m.part) == (name, part))


def test_certified_accuracy_counts_rows_whose_radius_reaches_the_budget() -> None:
    got = run(Exact(factor=0.999999))
    assert got.tensors["radius"].tolist() == pytest.approx(
        [0.02, 0.06, 0.08, 0.15, 0.1, -1], abs=1e-4
    )
    assert find(got, "clean accuracy").value == pytest.approx(5 / 6)
    assert find(got, "certified accuracy", "eps=0.05").value == pytest.approx(4 / 6)
    assert find(got, "certified accuracy", "eps=0.1").value == pytest.approx(1 / 6)
    assert find(got, "abstained or wrong").value == pytest.approx(1 / 6)
    assert find(got, "average certified radius").value == pytest.approx(0.41 / 6, abs=1e-4)
    assert got.forwards == 6


def test_a_true_certificate_is_not_refuted_and_a_false_one_is() -> None:
    assert find(run(Exact(factor=0.99)), "refuted certificates").value == 0
    wrong = find(run(Exact(factor=1.1)), "refuted certificates")
    assert (wrong.value, wrong.n) == (1, 5)


def test_certificates_of_a_smoothed_model_are_not_tested_on_the_plain_one() -> None:
    got = run(RandomizedSmoothing(samples=100), "l2")
    assert not any(m.name == "refuted certificates" for m in got.measurements)
    assert "probability" in got.notes[0]
    assert got.forwards == 6 * 200


def test_another_measure_or_too_little_access_does_not_apply() -> None:
    with pytest.raises(NotApplicable, match="l2"):
        run(RandomizedSmoothing())
    with pytest.raises(NeedsError):
        run(IBP())


def test_the_batch_size_does_not_change_certain_radii(digit_target, digits) -> None:
    threat = ThreatModel("Weights", measure="linf", eps=(0.001, 0.01))
    case = Case(digit_target, digits[1].first(100), threat)
    one, other = (assess(IBP(), case, Run(batch_size=size)) for size in (30, 100))
    assert torch.allclose(one.tensors["radius"], other.tensors["radius"], atol=1e-6)
    assert find(one, "refuted certificates").value == 0
    assert (
        0 < find(one, "certified accuracy", "eps=0.001").value <= find(one, "clean accuracy").value
    )
