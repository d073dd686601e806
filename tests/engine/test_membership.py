"""The membership runner: balanced rows, exact identities, honest intervals and controls."""

from dataclasses import dataclass, field
from statistics import NormalDist
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NeedsError, NotApplicable
from holdfast.core.record import Measurement, ThreatModel
from holdfast.core.run import Run
from holdfast.core.space import Box
from holdfast.engine.case import Case
from holdfast.engine.membership import (
    advantage,
    assess,
    best_threshold,
    difference,
    gap_accuracy,
    measurements,
    split,
)
from holdfast.privacy.attacks.loss_threshold import LossThreshold

THREAT = ThreatModel("Scores")


def rows(first: int, last: int) -> Dataset:
    """Row i has the input i; all are of class 1."""
    x = torch.arange(first, last).float().view(-1, 1)
    return Dataset("numbers", x, torch.ones(len(x), dtype=torch.long), ("a", "b"))


@dataclass(frozen=True, eq=False)
class Remembers:
    """Surer by `edge` of the inputs below 1000, which it was trained on; else noise by input."""

    edge: float
    spread: float = 1.0
    space: Box = field(default_factory=lambda: Box(-torch.inf, torch.inf))

    def scores(self, x: Tensor) -> Tensor:
        noise = torch.randn(4000, generator=torch.Generator().manual_seed(3))[x.long().flatten()]
        odds = self.edge * (x < 1000).float() + self.spread * noise.view(-1, 1)
        return torch.cat([torch.zeros_like(odds), odds], 1)

    def decode(self, raw: Tensor) -> Tensor:
        return raw.argmax(1)

    def answer(self, x: Tensor) -> Tensor:
        return self.decode(self.scores(x))


def case(target: object, test: Dataset | None = None) -> Case:
    return Case(target, test or rows(1000, 2000), THREAT, rows(0, 1000))


def named(found: tuple[Measurement, ...]) -> dict[str, Measurement]:
    return {m.name: m for m in found}


def test_the_gap_attack_is_as_accurate_as_the_identity_says() -> None:
    rng = torch.Generator().manual_seed(0)
    for p, q in [(0.9, 0.6), (1.0, 0.0), (0.5, 0.7)]:
        inside, outside = (torch.rand(997, generator=rng) < share for share in (p, q))
        correct = int(inside.sum()) + int((~outside).sum())
        identity = (1 + inside.double().mean() - outside.double().mean()) / 2
        assert gap_accuracy(inside, outside) == pytest.approx(correct / (2 * 997), abs=1e-12)
        assert gap_accuracy(inside, outside) == pytest.approx(float(identity), abs=1e-12)


def test_known_normal_laws_give_the_known_area_and_advantage() -> None:
    found = named(assess(LossThreshold(), case(Remembers(1.0)), Run()).measurements)
    law = NormalDist()
    area, gain = found["area under the curve"], found["advantage"]
    assert area.low < law.cdf(2**-0.5) < area.high
    assert area.value == pytest.approx(law.cdf(2**-0.5), abs=0.05)
    best = 2 * law.cdf(0.5) - 1  # threshold half way between the two means
    assert gain.low < best < gain.high
    assert found["TPR at 1% FPR"].low < 0.0924 < found["TPR at 1% FPR"].high
    gap = found["gap attack accuracy"]
    assert gap.value == pytest.approx(
        (1 + found["accuracy on members"].value - found["accuracy on non-members"].value) / 2
    )


def test_members_and_non_members_are_equally_many_and_the_background_is_neither() -> None:
    drawn = split(case(Remembers(1.0), rows(1000, 1500)), Run())
    seen = drawn.scored.tensor.flatten()
    assert (drawn.members, len(drawn.scored), len(drawn.background)) == (250, 500, 250)
    assert (seen[:250] < 1000).all()
    assert (seen[250:] >= 1000).all()
    everything = torch.cat([seen, drawn.background.tensor.flatten()])
    assert len(everything.unique()) == 750
    assert not torch.equal(seen[:250], seen[:250].sort().values)  # a random draw


def test_a_target_that_forgets_scores_nothing_and_its_controls_hold() -> None:
    evidence = assess(LossThreshold(), case(Remembers(0.0)), Run())
    found = named(evidence.measurements)
    for name in ("area under the curve", "null area under the curve"):
        assert found[name].low < 0.5 < found[name].high
    assert found["advantage"].low < 0 < found["advantage"].high
    assert evidence.forwards == evidence.rows == 600
    assert evidence.tensors["fpr"][[0, -1]].tolist() == [0, 1]
    assert evidence.tensors["tpr"].diff().min() >= 0


def test_a_perfect_memory_is_found_out() -> None:
    found = named(assess(LossThreshold(), case(Remembers(50.0)), Run()).measurements)
    assert found["area under the curve"].value == 1
    assert found["advantage"].value > 0.99  # one member in a half may lie below the other's least
    assert found["TPR at 1% FPR"].value == 1


def test_on_pure_noise_the_advantage_is_not_that_of_the_best_threshold_in_hindsight() -> None:
    rng = np.random.default_rng(0)
    honest, hindsight = [], []
    for _ in range(100):
        a, b = rng.normal(size=(2, 60))
        honest.append(advantage(a, b).value)
        threshold = best_threshold(a, b)
        hindsight.append((a >= threshold).mean() - (b >= threshold).mean())
    assert abs(np.mean(honest)) < 0.03
    assert np.mean(hindsight) > 0.1


def test_the_null_control_and_the_area_cover_one_half_on_noise() -> None:
    rng, covered = (
        np.random.default_rng(1),
        {"null area under the curve": 0, "area under the curve": 0},
    )
    for _ in range(100):
        found = named(measurements(*rng.normal(size=(2, 150))))
        for name in covered:
            covered[name] += found[name].low <= 0.5 <= found[name].high
    assert min(covered.values()) >= 89


@pytest.mark.parametrize(
    ("n", "shown"), [(99, []), (100, ["1%"]), (999, ["1%"]), (1000, ["1%", "0.1%"])]
)
def test_rates_below_one_in_the_number_of_non_members_are_not_told(n, shown) -> None:
    rng = np.random.default_rng(0)
    names = named(measurements(rng.normal(size=200), rng.normal(size=n)))
    assert [k for k in names if k.startswith("TPR")] == [f"TPR at {level} FPR" for level in shown]


def test_the_interval_of_a_difference_holds_the_true_one() -> None:
    rng, inside = np.random.default_rng(2), 0
    for hits, alarms in rng.binomial(80, [0.7, 0.5], size=(200, 2)):
        found = difference(int(hits), 80, int(alarms), 80)
        assert found.low <= found.value <= found.high
        inside += found.low <= 0.2 <= found.high
    assert inside >= 188


def test_notes_tell_of_saturation_and_of_missing_precision() -> None:
    notes = " ".join(assess(LossThreshold(), case(Remembers(40.0)), Run()).notes)
    assert "rounds to one" in notes
    assert "0.1% FPR" in notes


def test_it_says_why_it_cannot_be_run() -> None:
    with pytest.raises(NotApplicable, match="training rows"):
        assess(LossThreshold(), Case(Remembers(1.0), rows(1000, 2000), THREAT), Run())
    with pytest.raises(NotApplicable, match="held-out rows"):
        assess(LossThreshold(), case(Remembers(1.0), rows(1000, 1020)), Run())
    labels_only = SimpleNamespace(space=Box(), answer=lambda x: x)
    with pytest.raises(NeedsError, match="scores"):
        assess(LossThreshold(), case(labels_only), Run())
    with pytest.raises(NotApplicable, match="allowance"):
        assess(LossThreshold(), case(Remembers(1.0)), Run(queries=0))


@dataclass(frozen=True)
class Shadowed(LossThreshold):
    """Stands for a method that trains shadow models."""

    shadows: int = 16


def test_a_score_that_rests_on_shadow_models_says_what_its_interval_leaves_out() -> None:
    notes = " ".join(assess(Shadowed(), case(Remembers(1.0), rows(1000, 1500)), Run()).notes)
    assert "over rows alone" in notes
    assert "at most 375 rows, the target on 1000" in notes
    assert "over rows alone" not in " ".join(
        assess(LossThreshold(), case(Remembers(1.0)), Run()).notes
    )
