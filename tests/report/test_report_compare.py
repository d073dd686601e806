"""Before and after: better and worse only beyond chance, and only where the direction is known."""

from dataclasses import replace

import pytest

from holdfast.core.record import Measurement, Outcome, Status
from holdfast.report.compare import Trend, compare
from holdfast.report.words import interval, is_share, moment, number, rising_is_good
from tests.report import samples
from tests.report.building import record, share


def both(kind: str, before: Measurement, after: Measurement):
    """Two assessments with one measurement each."""
    whole = samples.assessment()
    made = [
        Outcome("a/b", "a/b", "T", Status.PASSED, record=record("a/b", kind, (m,)))
        for m in (before, after)
    ]
    return compare([replace(whole, outcomes=(outcome,)) for outcome in made])


@pytest.mark.parametrize(
    ("kind", "name", "before", "after", "trend"),
    [
        ("EvasionAttack", "robust accuracy", 0.1, 0.7, Trend.BETTER),
        ("EvasionAttack", "robust accuracy", 0.7, 0.1, Trend.WORSE),
        ("EvasionAttack", "robust accuracy", 0.70, 0.71, Trend.SAME),
        ("UniversalAttack", "attack success", 0.7, 0.1, Trend.BETTER),
        ("ExtractionAttack", "copy accuracy", 0.2, 0.9, Trend.WORSE),
        ("Detector", "recall at 5% false positives", 0.2, 0.9, Trend.BETTER),
        ("Metric", "shoe size", 0.2, 0.9, Trend.CHANGED),
        ("UniversalAttack", "success of a random patch", 0.2, 0.9, Trend.CHANGED),
    ],
)
def test_a_change_is_judged_by_its_direction_and_its_intervals(
    kind: str, name: str, before: float, after: float, trend: Trend
) -> None:
    found = both(kind, share(name, before, 500), share(name, after, 500))
    assert found is not None
    assert found.rows[0].trend is trend
    assert found.rows[0].rose == (after > before)


def test_small_samples_do_not_make_a_difference() -> None:
    few = both(
        "EvasionAttack", share("robust accuracy", 0.3, 10), share("robust accuracy", 0.6, 10)
    )
    assert few is not None
    assert few.rows[0].trend is Trend.SAME


def test_numbers_without_an_interval_are_not_judged() -> None:
    bare = both(
        "WeightScan", Measurement("anomaly index", 4.3, 1), Measurement("anomaly index", 1.6, 1)
    )
    assert bare is not None
    assert bare.rows[0].trend is Trend.CHANGED
    exact = both(
        "Scanner",
        Measurement("suspicious files", 1, 3, 1, 1),
        Measurement("suspicious files", 0, 3, 0, 0),
    )
    assert exact is not None
    assert exact.rows[0].trend is Trend.BETTER


def test_a_single_assessment_is_not_compared() -> None:
    assert compare([samples.assessment()]) is None


def test_checks_that_were_mended_broken_and_stayed_are_named() -> None:
    first, last = samples.assessment(), samples.assessment(hard=True)
    own = tuple(
        replace(each, record=each.record and replace(each.record, key=f"hard {each.check}"))
        for each in last.outcomes
    )
    found = compare([first, replace(last, outcomes=own)])
    assert found is not None
    assert "Neural Cleanse" in found.mended
    assert found.still == (
        "Deep leakage from gradients",
        "Environmental corruptions",
        "Group fairness",
    )
    assert found.broken == ()
    shared = compare([first, last])
    assert shared is not None
    assert shared.still == (), "one record of the training recipe says nothing of a change"
    back = compare([samples.assessment(hard=True), samples.assessment()])
    assert back is not None
    assert set(back.broken) == set(found.mended)
    assert [r.trend for r in back.headlines].count(Trend.WORSE) == [
        r.trend for r in found.headlines
    ].count(Trend.BETTER)


def test_the_short_table_holds_what_findings_are_about_and_clean_accuracy_once() -> None:
    found = compare([samples.assessment(), samples.assessment(hard=True)])
    assert found is not None
    names = [row.name for row in found.headlines]
    assert names.count("clean accuracy") == 1
    assert "robust accuracy (eps=0.1)" in names
    assert "accuracy under random noise (eps=0.1)" not in names


def test_a_check_that_only_one_assessment_has_is_shown_as_such() -> None:
    whole = samples.assessment()
    found = compare([whole, replace(whole, outcomes=whole.outcomes[1:])])
    assert found is not None
    assert found.rows[0].trend is Trend.ONCE
    assert found.rows[0].values[1] is None


@pytest.mark.parametrize(
    ("kind", "name", "good"),
    [
        ("EvasionAttack", "clean accuracy", True),
        ("PoisoningAttack", "accuracy drop", False),
        ("PoisoningAttack", "poisoned accuracy", True),
        ("PoisoningAttack", "victim success of random noise", None),
        ("MembershipAttack", "TPR at 0.1% FPR", False),
        ("MembershipAttack", "area under the curve", False),
        ("Detector", "area under the curve", True),
        ("Detector", "false positives", False),
        ("DataFilter", "false alarms on clean data", False),
        ("DataFilter", "recall of planted rows", True),
        ("WeightScan", "anomaly index", False),
        ("WeightScan", "anomaly index of a clean copy", None),
        ("Certifier", "certified accuracy", True),
        ("Certifier", "abstained or wrong", False),
        ("Metric", "demographic parity difference", False),
        ("ReconstructionAttack", "mean PSNR", False),
        ("TrainingDefence", "training time ratio", False),
        ("TrainingDefence", "robust accuracy (undefended)", None),
        ("TrainingDefence", "epsilon", False),
        ("ExtractionAttack", "agreement", False),
        ("ExtractionAttack", "agreement on uniform inputs", False),
        ("ExtractionAttack", "agreement of the control", None),
        ("ExtractionAttack", "agreement of the commonest answer", None),
        ("OutputFilter", "agreement of equation solving", False),
        ("OutputFilter", "agreement of copycat (undefended)", None),
        ("OutputFilter", "area under the curve", False),
        ("MembershipAttack", "accuracy on members", None),
        ("MembershipAttack", "accuracy on non-members", True),
        ("PoisoningAttack", "accuracy drop between two clean trainings", None),
        ("PoisoningAttack", "half-flipped class answered as the other", False),
        ("PoisoningAttack", "half-flipped class answered as the other without poison", None),
        ("ReconstructionAttack", "noise recognised by an independent model", None),
        ("ReconstructionAttack", "recognised by an independent model", False),
        ("Scanner", "unsafe callables", False),
        ("Scanner", "other findings", False),
    ],
)
def test_the_good_direction_of_each_measurement_is_known(
    kind: str, name: str, good: bool | None
) -> None:
    assert rising_is_good(kind, name) is good


def test_numbers_are_written_for_people() -> None:
    assert number(share("robust accuracy", 0.5, 10)) == "50.0\u202f%"
    assert interval(share("robust accuracy", 0.5, 10)) == "18.7 to 81.3\u202f%"
    assert is_share(share("refuted certificates", 0.5, 10))
    assert not is_share(Measurement("deletion area", 0.5, 10, 0.4, 0.6))
    assert number(Measurement("PSNR", 14.23, 8, unit="dB")) == "14.2\u202fdB"
    assert number(Measurement("accuracy", float("nan"), 0)) == "not measured"
    assert interval(Measurement("bytes", 3, 1, 3, 3)) == "exact"
    assert interval(Measurement("bytes", 3, 1)) == "–"


def test_times_are_written_for_people_and_other_text_is_left_alone() -> None:
    assert moment("2026-11-20T14:34:57+00:00") == "20 November 2026, 14:34 UTC"
    assert moment("2026-11-20") == "20 November 2026"
    assert moment("today") == "today"
