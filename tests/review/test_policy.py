"""The verdict is a pure function of outcomes, tier and day, and never kinder than the evidence."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.errors import InputError
from holdfast.core.policy import Decision, Limit, Tier
from holdfast.core.record import Finding, Measurement, Outcome, Severity, Status
from holdfast.review.policy import decide, load_policy
from tests.store.test_sql import RECORD as STORED

RECORD = replace(STORED, findings=())
GOOD = Outcome("evasion/pgd.linf", "evasion/pgd", "PGD", Status.PASSED, record=RECORD)
LIMIT = Limit("evasion/pgd.linf", "robust accuracy", "eps=0.1", at_least=0.1)
TIER = Tier("medium", (LIMIT,), ("evasion/pgd.linf | evasion/hop_skip_jump",))
TODAY = date(2026, 11, 20)


def verdict(tier: Tier, *outcomes: Outcome, today: date = TODAY):
    return decide(tier, outcomes, today, "p" * 64)


def test_evidence_within_all_limits_allows() -> None:
    assert verdict(TIER, GOOD).decision == Decision.ALLOW


def test_the_same_input_gives_the_same_verdict() -> None:
    assert verdict(TIER, GOOD) == verdict(TIER, GOOD)


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        (replace(GOOD, check="other", method="other/one"), "not run"),
        (replace(GOOD, status=Status.ERROR, reason="it broke", record=None), "it broke"),
        (replace(GOOD, status=Status.NOT_APPLICABLE, reason="black box", record=None), "black box"),
        (replace(GOOD, record=replace(RECORD, measurements=())), "not measured"),
        (replace(GOOD, record=replace(RECORD, started="2026-01-01T00:00:00+00:00")), "days old"),
    ],
)
def test_missing_broken_and_stale_evidence_blocks(outcome: Outcome, says: str) -> None:
    got = verdict(TIER, outcome)
    assert got.decision == Decision.BLOCK
    assert any(says in reason.text for reason in got.reasons if reason.blocks)


def test_either_of_two_required_checks_is_enough() -> None:
    other = replace(GOOD, check="evasion/hop_skip_jump.l2", method="evasion/hop_skip_jump")
    assert verdict(replace(TIER, limits=()), other).decision == Decision.ALLOW


def test_a_broken_limit_blocks_only_above_the_tiers_worst() -> None:
    broken = replace(LIMIT, at_least=0.9)
    assert verdict(replace(TIER, limits=(broken,)), GOOD).decision == Decision.BLOCK
    mild = replace(broken, severity=Severity.MEDIUM)
    assert verdict(replace(TIER, limits=(mild,)), GOOD).decision == Decision.ALLOW


def test_a_scanners_finding_blocks() -> None:
    found = Finding("supply/pickle_scan/os.system", Severity.CRITICAL, "A file that runs code")
    got = verdict(TIER, replace(GOOD, record=replace(RECORD, findings=(found,))))
    assert got.decision == Decision.BLOCK


@given(st.floats(0, 1), st.sampled_from(list(Severity)))
def test_worse_evidence_never_turns_a_block_into_an_allow(value: float, severity: Severity) -> None:
    worse = Measurement("robust accuracy", min(value, 0.1), 10, part="eps=0.1")
    found = Finding("x", severity, "found")
    bad = replace(RECORD, measurements=(worse,), findings=(found,))
    if verdict(TIER, GOOD).decision == Decision.BLOCK:
        assert verdict(TIER, replace(GOOD, record=bad)).decision == Decision.BLOCK
    if severity > TIER.worst or worse.value < 0.1:
        assert verdict(TIER, replace(GOOD, record=bad)).decision == Decision.BLOCK


def test_the_shipped_policy_grows_stricter_from_tier_to_tier() -> None:
    low, medium, high = (load_policy().tier(name) for name in ("low", "medium", "high"))
    assert set(low.required) <= set(medium.required) <= set(high.required)
    assert low.worst > medium.worst > high.worst
    assert low.max_age_days > medium.max_age_days > high.max_age_days
    keys = [{(x.check, x.measurement, x.part) for x in tier.limits} for tier in (low, medium, high)]
    assert keys[0] <= keys[1] <= keys[2]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: x\ntiers: {a: {worst: terrible}}", "critical"),
        ("name: x\ntiers: {a: {inherits: b}}", "written above"),
        ("name: x\ntiers: {a: {limits: [{check: c, measurement: m}]}}", "at_least or at_most"),
        ("name: x\ntiers: {a: {limit: []}}", "limit"),
        ("name: [", "not valid YAML"),
    ],
)
def test_a_wrong_policy_file_is_one_clear_error(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        load_policy(path)


def test_unknown_names_list_the_choices() -> None:
    with pytest.raises(InputError, match="default"):
        load_policy("defualt")
    with pytest.raises(InputError, match="low, medium, high"):
        load_policy().tier("extreme")
