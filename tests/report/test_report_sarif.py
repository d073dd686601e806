"""The SARIF report: what the 2.1.0 specification demands, stable identities, honest kinds.

The official JSON schema is not shipped here. Where HOLDFAST_SARIF_SCHEMA names a copy of it, the
reports are validated against it too.
"""

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from holdfast.core.record import Measurement, Severity, Status
from holdfast.report import sarif
from tests.report import samples


@pytest.fixture(scope="module")
def log() -> dict[str, Any]:
    """Both sample assessments."""
    return json.loads(sarif.render([samples.assessment(), samples.assessment(hard=True)], "today"))


def test_the_log_has_what_the_specification_demands(log: dict[str, Any]) -> None:
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-schema-2.1.0.json")
    assert len(log["runs"]) == 2
    for run in log["runs"]:
        rules = run["tool"]["driver"]["rules"]
        assert run["tool"]["driver"]["name"] == "Holdfast"
        assert len({rule["id"] for rule in rules}) == len(rules)
        assert isinstance(run["invocations"][0]["executionSuccessful"], bool)
        for result in run["results"]:
            assert result["message"]["text"]
            assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
            assert result["kind"] in {"fail", "pass", "notApplicable", "informational"}
            assert (result["level"] == "none") == (result["kind"] != "fail")  # 3.27.10
            uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
            assert re.fullmatch(r"[\w./~%-]+", uri)


def test_every_finding_is_a_result_with_its_evidence(log: dict[str, Any]) -> None:
    results = log["runs"][0]["results"]
    found = [r for r in results if r["kind"] in {"fail", "informational"}]
    whole = samples.assessment()
    assert len(found) == sum(len(outcome.findings) for outcome in whole.outcomes)
    worst = next(r for r in found if r["ruleId"] == "robust-accuracy")
    assert worst["level"] == "error"
    first = worst["properties"]["evidence"][0]
    assert first["name"] == "robust accuracy"
    assert first["part"] == "eps=0.1"
    assert first["n"] == 597
    assert first["low"] < first["value"] < first["high"]
    assert worst["properties"]["remedies"] == ["evasion/pgd_training", "evasion/trades"]


def test_what_was_not_run_is_neither_passed_nor_silent(log: dict[str, Any]) -> None:
    run, whole = log["runs"][0], samples.assessment()
    ends = [outcome.status for outcome in whole.outcomes]
    kinds = [result["kind"] for result in run["results"]]
    assert kinds.count("pass") == ends.count(Status.PASSED)
    assert kinds.count("notApplicable") == ends.count(Status.NOT_APPLICABLE)
    notes = run["invocations"][0]["toolExecutionNotifications"]
    assert len(notes) == ends.count(Status.ERROR) == 1
    assert not run["invocations"][0]["executionSuccessful"]


def prints(text: str) -> list[str]:
    runs = json.loads(text)["runs"]
    return [
        r["partialFingerprints"]["holdfast/v1"]
        for r in runs[0]["results"]
        if "partialFingerprints" in r
    ]


def test_a_fault_keeps_its_fingerprint_when_numbers_and_model_change() -> None:
    whole = samples.assessment()
    first = whole.outcomes[0]
    worse = replace(
        first.findings[0], evidence=(Measurement("robust accuracy", 0.0, 10),), detail="other"
    )
    again = replace(
        whole,
        seed=7,
        subject=replace(whole.subject, model_digest="0" * 64),
        outcomes=(replace(first, findings=(worse,)), *whole.outcomes[1:]),
    )
    assert prints(sarif.render([whole])) == prints(sarif.render([again]))


def test_two_faults_never_share_a_fingerprint() -> None:
    whole = samples.assessment()
    first = whole.outcomes[0]
    twice = replace(
        first,
        findings=(first.findings[0], first.findings[0], replace(first.findings[0], where="x")),
    )
    every = prints(sarif.render([replace(whole, outcomes=(twice, *whole.outcomes[1:]))]))
    assert len(set(every)) == len(every)


def test_a_rule_has_the_level_of_its_worst_finding() -> None:
    whole = samples.assessment()
    first = whole.outcomes[0]
    mild = replace(first.findings[0], severity=Severity.LOW)
    grave = replace(first.findings[0], severity=Severity.CRITICAL, where="y")
    log = json.loads(
        sarif.render([replace(whole, outcomes=(replace(first, findings=(mild, grave)),))])
    )
    (rule,) = log["runs"][0]["tool"]["driver"]["rules"]
    assert rule["defaultConfiguration"]["level"] == "error"
    assert rule["properties"]["security-severity"] == "9.5"


def test_reports_are_valid_by_the_official_schema() -> None:
    path = os.environ.get("HOLDFAST_SARIF_SCHEMA", "")
    if not path:
        pytest.skip("HOLDFAST_SARIF_SCHEMA does not name a copy of the official schema")
    schema = json.loads(Path(path).read_text(encoding="utf-8"))
    checker = jsonschema.validators.validator_for(schema)(
        schema, format_checker=jsonschema.FormatChecker()
    )
    for whole in ([samples.assessment(), samples.assessment(hard=True)], [samples.hostile()], []):
        checker.validate(json.loads(sarif.render(whole, "today")))
