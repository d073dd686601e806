"""Assessments as SARIF 2.1.0, the format that code-scanning services and editors read.

Rules are the findings' stable rule ids; a result's fingerprint depends on what is wrong and where,
not on the numbers of one run, so that the same fault keeps its identity from run to run. Checks that
passed or could not be applied are results too (kind `pass` and `notApplicable`), and checks that
broke off are notifications: nothing that was not run looks like a pass.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from holdfast.core.assessment import Assessment
from holdfast.core.record import Finding, Measurement, Outcome, Severity, Status
from holdfast.report.words import family, tool_version

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"
FINGERPRINT = "holdfast/v1"
LEVELS: Mapping[Severity, str] = {
    Severity.CRITICAL: "error",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "note",
    Severity.INFO: "note",
}
SCORES: Mapping[Severity, str] = {
    Severity.CRITICAL: "9.5",
    Severity.HIGH: "8.0",
    Severity.MEDIUM: "5.5",
    Severity.LOW: "3.0",
    Severity.INFO: "0.0",
}
"""`security-severity` as code-scanning services bin it: over 9 critical, 7 high, 4 medium."""
Node = dict[str, Any]


def render(assessments: Sequence[Assessment], made: str = "") -> str:
    """One SARIF log with a run per assessment."""
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [_run(a, made) for a in assessments]}
    return json.dumps(log, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def fingerprint(outcome: Outcome, finding: Finding) -> str:
    """Identity of a finding: its rule, place and check, but neither numbers nor the model's bytes."""
    said = [finding.rule, finding.where, outcome.check]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _run(assessment: Assessment, made: str) -> Node:
    rules = _rules(assessment)
    places = {rule["id"]: spot for spot, rule in enumerate(rules)}
    results = [r for o in assessment.outcomes for r in _results(assessment, o, places)]
    broken = [o for o in assessment.outcomes if o.status is Status.ERROR]
    invocation: Node = {
        "executionSuccessful": not broken,
        "toolExecutionNotifications": [
            {
                "level": "error",
                "message": {"text": f"{o.title} broke off: {o.reason or 'no reason was given'}"},
                "associatedRule": {"id": o.method, "index": places[o.method]},
                "properties": {"check": o.check},
            }
            for o in broken
        ],
    }
    if assessment.command:
        invocation["commandLine"] = assessment.command
    verdict = assessment.verdict
    said: Node = {
        "title": assessment.title, "profile": assessment.profile, "tier": assessment.tier,
        "seed": assessment.seed, "made": made, "facts": dict(assessment.facts),
    }  # fmt: skip
    if verdict:
        said["verdict"] = {
            "decision": verdict.decision.value, "tier": verdict.tier, "decided": verdict.decided,
            "policyDigest": verdict.policy_digest,
            "reasons": [{"check": r.check, "text": r.text, "blocks": r.blocks} for r in verdict.reasons],
        }  # fmt: skip
    return {
        "tool": {"driver": {"name": "Holdfast", "version": tool_version(), "rules": rules}},
        "automationDetails": {"id": f"holdfast/{assessment.profile}/{assessment.title}/"},
        "invocations": [invocation],
        "artifacts": [_artifact(assessment)],
        "results": results,
        "properties": said,
    }


def _artifact(assessment: Assessment) -> Node:
    subject = assessment.subject
    artifact: Node = {
        "location": {"uri": _uri(subject.model)},
        "roles": ["analysisTarget"],
        "properties": {"format": subject.format, "digest": subject.model_digest,
                       "data": subject.data, "dataDigest": subject.data_digest},
    }  # fmt: skip
    if re.fullmatch(r"[0-9a-f]{64}", subject.model_digest):
        artifact["hashes"] = {"sha-256": subject.model_digest}
    return artifact


def _rules(assessment: Assessment) -> list[Node]:
    """Rules of findings, and for checks that ended without one the method itself, by id."""
    found: dict[str, Node] = {}
    for outcome in assessment.outcomes:
        for finding in outcome.findings:
            rule = found.setdefault(finding.rule, _finding_rule(outcome, finding))
            score = SCORES[finding.severity]
            if float(score) > float(rule["properties"]["security-severity"]):
                rule["properties"]["security-severity"] = score
                rule["defaultConfiguration"]["level"] = LEVELS[finding.severity]
        if outcome.status is not Status.FAILED or not outcome.findings:
            found.setdefault(outcome.method, _method_rule(outcome))
    return [found[id_] for id_ in sorted(found)]


def _finding_rule(outcome: Outcome, finding: Finding) -> Node:
    text = f"Found by {outcome.title}. Security property: {finding.property.value}."
    if finding.remedies:
        text += f" Remedies: {', '.join(finding.remedies)}."
    tags = ["security", family(outcome), finding.property.value, *finding.refs]
    return {
        "id": finding.rule,
        "shortDescription": {"text": finding.title or finding.rule},
        "help": {"text": text},
        "defaultConfiguration": {"level": LEVELS[finding.severity]},
        "properties": {
            "security-severity": SCORES[finding.severity],
            "tags": list(dict.fromkeys(tags)),
        },
    }


def _method_rule(outcome: Outcome) -> Node:
    return {
        "id": outcome.method,
        "shortDescription": {"text": outcome.title or outcome.method},
        "defaultConfiguration": {"level": "warning"},
        "properties": {"security-severity": "0.0", "tags": ["security", family(outcome)]},
    }


def _results(assessment: Assessment, outcome: Outcome, places: Mapping[str, int]) -> Iterator[Node]:
    """The findings of a check, and how it ended unless a finding says so."""
    seen: dict[str, int] = {}
    for finding in outcome.findings:
        mark = fingerprint(outcome, finding)
        seen[mark] = seen.get(mark, 0) + 1
        yield _finding_result(
            assessment, outcome, finding, places[finding.rule], f"{mark}:{seen[mark]}"
        )
    kinds = {
        Status.PASSED: "pass", Status.NOT_APPLICABLE: "notApplicable", Status.FAILED: "fail",
        Status.MEASURED: "informational",
    }  # fmt: skip
    failed = outcome.status is Status.FAILED
    if outcome.status not in kinds or (failed and outcome.findings):
        return
    text = f"{outcome.title}: {outcome.status.value}"
    yield {
        "ruleId": outcome.method,
        "ruleIndex": places[outcome.method],
        "kind": kinds[outcome.status],
        "level": "warning" if failed else "none",
        "message": {"text": f"{text}; {outcome.reason}" if outcome.reason else text},
        "locations": [_location(assessment, "")],
        "properties": _proof(outcome, outcome.record.measurements if outcome.record else ()),
    }


def _finding_result(
    assessment: Assessment, outcome: Outcome, finding: Finding, spot: int, mark: str
) -> Node:
    informs = finding.severity is Severity.INFO  # only a failure may carry a level
    text = ". ".join(part.rstrip(".") for part in (finding.title, finding.detail) if part) + "."
    return {
        "ruleId": finding.rule,
        "ruleIndex": spot,
        "kind": "informational" if informs else "fail",
        "level": "none" if informs else LEVELS[finding.severity],
        "message": {"text": text},
        "locations": [_location(assessment, finding.where)],
        "partialFingerprints": {FINGERPRINT: mark},
        "properties": {
            **_proof(outcome, finding.evidence),
            "severity": finding.severity.name.lower(),
            "property": finding.property.value,
            "stage": finding.stage.value,
            "references": list(finding.refs),
            "remedies": list(finding.remedies),
            "command": finding.command,
        },
    }


def _proof(outcome: Outcome, evidence: Sequence[Measurement]) -> Node:
    return {
        "check": outcome.check,
        "method": outcome.method,
        "record": outcome.record.key if outcome.record else None,
        "evidence": [
            {"name": m.name, "part": m.part, "value": _finite(m.value), "low": _finite(m.low),
             "high": _finite(m.high), "n": m.n, "unit": m.unit}
            for m in evidence
        ],
    }  # fmt: skip


def _location(assessment: Assessment, where: str) -> Node:
    location: Node = {
        "physicalLocation": {
            "artifactLocation": {"uri": _uri(assessment.subject.model), "index": 0}
        }
    }
    if where:
        location["logicalLocations"] = [{"fullyQualifiedName": where}]
    return location


def _uri(model: str) -> str:
    """A relative reference: `module:factory` must not look like a scheme."""
    return quote(model.encode("utf-8", "surrogateescape"), safe="/._-~") or "model"


def _finite(value: float | None) -> float | None:
    """JSON has neither NaN nor infinity."""
    return value if value is not None and math.isfinite(value) else None
