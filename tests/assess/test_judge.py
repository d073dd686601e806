"""Limits against records: what is broken, what holds, and what was never measured."""

from dataclasses import replace

import pytest

from holdfast import catalogue
from holdfast.assess.judge import judge, threats
from holdfast.core.policy import Limit
from holdfast.core.record import Finding, Measurement, Severity, Status
from tests.store.test_sql import RECORD as STORED

RECORD = replace(STORED, findings=())
LIMIT = Limit("evasion/pgd.linf", "robust accuracy", "eps=0.1", at_least=0.5)


def test_a_broken_limit_fails_with_a_finding_that_holds_the_evidence() -> None:
    outcome = judge(RECORD, "PGD", [LIMIT])
    assert outcome.status == Status.FAILED
    (finding,) = outcome.findings
    assert finding.evidence[0] == RECORD.measurements[0]
    assert finding.severity == Severity.HIGH
    assert finding.rule == "evasion/pgd.linf/robust-accuracy-eps=0.1"
    assert "at least 0.5" in outcome.reason
    assert "0.1" in outcome.reason


def test_a_finding_says_what_to_run_next() -> None:
    catalogue.load_all()
    (finding,) = judge(RECORD, "PGD", [LIMIT], "--model m.py:build --data digits").findings
    assert finding.command == (
        "holdfast harden --model m.py:build --data digits --remedy evasion/pgd_training"
    )
    (finding,) = judge(RECORD, "PGD", [LIMIT]).findings
    assert finding.command == "holdfast show evasion/pgd_training"


def test_a_limit_that_holds_passes() -> None:
    outcome = judge(RECORD, "PGD", [replace(LIMIT, at_least=0.1)])
    assert outcome.status == Status.PASSED
    assert outcome.findings == ()


@pytest.mark.parametrize("part", ["eps=0.3", ""])
def test_what_was_not_measured_is_never_a_pass(part: str) -> None:
    assert judge(RECORD, "PGD", [replace(LIMIT, part=part)]).status == Status.FAILED


def test_not_a_number_is_never_a_pass() -> None:
    record = replace(
        RECORD, measurements=(Measurement("robust accuracy", float("nan"), 0, part="eps=0.1"),)
    )
    assert judge(record, "PGD", [LIMIT]).status == Status.FAILED
    assert (
        judge(record, "PGD", [replace(LIMIT, at_least=None, at_most=1.0)]).status == Status.FAILED
    )


def test_a_limit_on_another_check_does_not_count() -> None:
    assert judge(RECORD, "PGD", [replace(LIMIT, check="evasion/pgd.l2")]).status == Status.MEASURED


def test_a_limit_on_the_method_counts_for_all_its_checks() -> None:
    assert judge(RECORD, "PGD", [replace(LIMIT, check="evasion/pgd")]).status == Status.FAILED


def test_what_a_scanner_found_fails_the_check() -> None:
    found = Finding("supply/pickle_scan/os.system", Severity.CRITICAL, "A file that runs code")
    outcome = judge(replace(RECORD, findings=(found,)), "Scan", [])
    assert outcome.status == Status.FAILED
    assert outcome.findings[0].title == found.title


def test_every_threat_names_remedies_that_exist() -> None:
    known = catalogue.listings()
    for name, threat in threats().items():
        assert "/" not in name or name in known
        assert all(remedy in known for remedy in threat.remedies), name
