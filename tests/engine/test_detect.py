"""The detector's runner: three parts of clean data, and an attacker who knows what watches."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import Detector
from holdfast.core.record import ThreatModel
from holdfast.core.run import Run
from holdfast.core.target import Scores
from holdfast.engine.case import Case
from holdfast.engine.detect import CAUGHT, Unnoticed, Watched, assess, threshold
from holdfast.evasion.defences.feature_squeezing import FeatureSqueezing
from tests.toys import LinearTarget

LINF = ThreatModel("Gradients", measure="linf", eps=(0.05, 0.17))
TARGET = LinearTarget.two_class(4)


@dataclass(frozen=True)
class By(Detector[Scores]):
    """Scores inputs by a given function; notes what it is fitted on and asked about."""

    score: Callable[[Tensor], Tensor]
    seen: list[Tensor] = field(default_factory=list)

    def fit(self, target, clean, rng):
        target.scores(clean.tensor)
        self.seen.append(clean.tensor)

        def suspicion(x: Tensor) -> Tensor:
            self.seen.append(x)
            return self.score(x)

        return suspicion


def on_a_grid(count: int = 400) -> Dataset:
    """Clean values are tenths, so that whatever was changed shows."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randint(0, 11, (count, 4), generator=rng) / 10
    x[:, 0] = torch.arange(count) / count / 100 + x[:, 0] * 0.9  # every row is its own
    return Dataset("grid", x, TARGET.answer(x), ("low", "high"))


def off_grid(x: Tensor) -> Tensor:
    return (10 * x[:, 1:] - (10 * x[:, 1:]).round()).abs().amax(1)


def mean(x: Tensor) -> Tensor:
    return x.sum(1)


def found(evidence) -> dict[str, float]:
    return {f"{m.name} {m.part}".strip(): m.value for m in evidence.measurements}


def test_the_threshold_flags_at_most_the_share_it_may() -> None:
    scores = torch.arange(100.0)
    for alarms in (0.0, 0.05, 0.5):
        assert int((scores > threshold(scores, alarms)).sum()) == int(alarms * 100)
    tied = torch.cat([torch.zeros(90), torch.ones(10)])
    assert int((tied > threshold(tied, 0.05)).sum()) == 0


def test_the_three_parts_of_clean_data_are_disjoint() -> None:
    data, method = on_a_grid(), By(mean)
    assess(method, Case(TARGET, data, LINF), Run())
    parts = [{tuple(row) for row in part.tolist()} for part in method.seen[:3]]
    assert [len(part) for part in parts] == [100, 100, 200]
    assert not parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2]


def test_false_alarms_are_near_their_share_on_rows_that_set_no_threshold() -> None:
    evidence = assess(By(mean), Case(TARGET, on_a_grid(2000), LINF), Run())
    alarms = next(m for m in evidence.measurements if m.name == "false positives")
    assert alarms.n == 1000
    assert alarms.value == pytest.approx(0.05, abs=0.025)


def test_a_detector_that_sees_any_change_catches_everyone_but_also_noise() -> None:
    values = found(assess(By(off_grid), Case(TARGET, on_a_grid(), LINF), Run()))
    for attacker in ("attack=unaware", "attack=aware"):
        assert values[f"recall at 5% false positives {attacker}"] > 0.95
        assert values[f"area under the curve {attacker}"] > 0.95
    assert values["recall on random noise"] > 0.95


def test_a_detector_that_knows_nothing_is_at_chance() -> None:
    # the last digits of a number that the attack does not steer
    noise = By(lambda x: (x.sum(1) * 1e4).frac())
    values = found(assess(noise, Case(TARGET, on_a_grid(2000), LINF), Run()))
    assert values["area under the curve attack=unaware"] == pytest.approx(0.5, abs=0.08)
    assert values["recall at 5% false positives attack=unaware"] < 0.15


def test_who_knows_of_the_detector_is_caught_less_often(digits, digit_target) -> None:
    threat = ThreatModel("Gradients", measure="linf", eps=(0.1,))
    evidence = assess(FeatureSqueezing(), Case(digit_target, digits[1], threat), Run())
    values = found(evidence)
    unaware, aware = (
        values[f"recall at 5% false positives attack={kind}"] for kind in ("unaware", "aware")
    )
    assert unaware > 0.5
    assert aware < unaware - 0.1
    assert (
        values["area under the curve attack=aware"] < values["area under the curve attack=unaware"]
    )
    assert (
        values["unnoticed success attack=aware"] > 1.3 * values["unnoticed success attack=unaware"]
    )
    assert values["recall on random noise"] < 0.2
    kept = evidence.tensors
    assert (kept["answers"] != kept["labels"]).all()
    assert (kept["adversarial"] - kept["clean"]).abs().max() <= 0.1 * (1 + 1e-4)


def test_a_watched_target_answers_caught_where_suspicion_is_above_the_limit() -> None:
    x = torch.tensor([[0.9] * 4, [0.1] * 4, [0.6] * 4])
    watched = Watched(TARGET, lambda v: v.mean(1), 0.8)
    assert watched.answer(x).tolist() == [CAUGHT, 0, 1]
    goal = Unnoticed(torch.tensor([0, 1, 1]))
    assert goal.degree(watched.answer(x)).tolist() == [0.0, 1.0, 0.0]
    got, plain = (t.gradient(x, lambda raw: raw[:, 1] ** 2) for t in (watched, TARGET))
    assert torch.equal(got.wrt_input, plain.wrt_input)
    assert torch.equal(watched.decode(got.raw), watched.answer(x))


def test_what_cannot_be_judged_is_not_applicable() -> None:
    data = on_a_grid()
    with pytest.raises(NotApplicable, match="80 clean rows"):
        assess(By(mean), Case(TARGET, data.first(40), LINF), Run())
    with pytest.raises(NotApplicable, match="budget"):
        assess(By(mean), Case(TARGET, data, ThreatModel("Gradients")), Run())

    class Closed:
        space, answer = TARGET.space, TARGET.answer

    with pytest.raises(NotApplicable, match="gradients"):
        assess(By(mean), Case(Closed(), data, LINF), Run())
