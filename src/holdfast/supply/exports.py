"""Scans as JSON and as SARIF 2.1.0: the same bytes give the same text, wherever and whenever."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from holdfast.core.record import Severity
from holdfast.report.sarif import FINGERPRINT, LEVELS, SCHEMA, SCORES
from holdfast.report.words import tool_version
from holdfast.supply.files import Scan
from holdfast.supply.rules import REFS, VERSION, Issue, Rule, Verdict

Node = dict[str, Any]


def as_json(scans: Sequence[Scan]) -> str:
    """Everything that is known, one entry per file, in the order given."""
    counts = Counter(scan.verdict for scan in scans)
    log = {
        "tool": "holdfast",
        "rules": VERSION,
        "files": [_file(scan) for scan in scans],
        "counts": {verdict.value: counts[verdict] for verdict in Verdict},
    }
    return json.dumps(log, indent=1, ensure_ascii=True) + "\n"


def _file(scan: Scan) -> Node:
    return {
        "file": scan.file,
        "bytes": scan.size,
        "verdict": scan.verdict.value,
        "read": [{"member": p.member, "format": p.format, "bytes": p.size} for p in scan.pieces],
        "unknown members": scan.others,
        "issues": [_issue(issue) for issue in scan.issues],
    }


def _issue(issue: Issue) -> Node:
    rule = issue.rule
    return {
        "rule": f"supply/{rule.id}",
        "severity": rule.severity.name.lower(),
        "title": issue.title,
        "subject": issue.subject,
        "reason": issue.reason,
        "member": issue.member,
        "offset": issue.offset,
        "remedy": rule.remedy,
        "references": [*REFS, *rule.refs],
    }


def as_sarif(scans: Sequence[Scan]) -> str:
    """One run; a result per issue, a passing one per clean file, and no clean word for the others."""
    told: dict[str, Rule] = {i.rule.id: i.rule for scan in scans for i in scan.issues}
    rules = [told[id_] for id_ in sorted(told)]
    places = {rule.id: place for place, rule in enumerate(rules)}
    results = [result for spot, scan in enumerate(scans) for result in _results(scan, spot, places)]
    driver = {"name": "Holdfast", "version": tool_version(), "rules": [*map(_rule, rules), _READ]}
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": "holdfast/scan/"},
        "invocations": [{"executionSuccessful": True}],
        "artifacts": [
            {
                "location": {"uri": _uri(scan.file)},
                "length": scan.size,
                "roles": ["analysisTarget"],
                "properties": {"verdict": scan.verdict.value, "read": scan.read},
            }
            for scan in scans
        ],
        "results": results,
        "properties": {"rules": VERSION},
    }
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=1, ensure_ascii=True) + "\n"


_READ: Node = {
    "id": "supply/archive_scan/read",
    "shortDescription": {"text": "What was read of a file"},
    "defaultConfiguration": {"level": "none"},
    "properties": {"security-severity": "0.0", "tags": ["security", "supply"]},
}


def _rule(rule: Rule) -> Node:
    return {
        "id": f"supply/{rule.id}",
        "shortDescription": {"text": rule.title},
        "help": {"text": rule.remedy},
        "defaultConfiguration": {"level": LEVELS[rule.severity]},
        "properties": {
            "security-severity": SCORES[rule.severity],
            "tags": ["security", "supply", *REFS, *rule.refs],
        },
    }


def _results(scan: Scan, spot: int, places: dict[str, int]) -> list[Node]:
    location = {
        "physicalLocation": {"artifactLocation": {"uri": _uri(scan.file), "index": spot}},
    }
    seen: Counter[str] = Counter()
    found: list[Node] = []
    for issue in scan.issues:
        mark = fingerprint(scan.file, issue)
        seen[mark] += 1
        informs = issue.rule.severity is Severity.INFO
        place: Node = {
            **location, "logicalLocations": [{"fullyQualifiedName": issue.where}],
        }  # fmt: skip
        found.append(
            {
                "ruleId": f"supply/{issue.rule.id}",
                "ruleIndex": places[issue.rule.id],
                "kind": "informational" if informs else "fail",
                "level": "none" if informs else LEVELS[issue.rule.severity],
                "message": {"text": f"{issue.title}. {issue.reason}. {issue.rule.remedy}"},
                "locations": [place],
                "partialFingerprints": {FINGERPRINT: f"{mark}:{seen[mark]}"},
                "properties": {"severity": issue.rule.severity.name.lower()},
            }
        )
    if scan.verdict is Verdict.CLEAN:
        found.append(
            {
                "ruleId": _READ["id"],
                "ruleIndex": len(places),
                "kind": "pass",
                "level": "none",
                "message": {"text": f"Clean. {scan.read}"},
                "locations": [location],
            }
        )
    return found


def fingerprint(file: str, issue: Issue) -> str:
    """Identity of an issue: its rule, place and subject, but no byte offset, which moves."""
    said = [issue.rule.id, file, issue.member, issue.subject]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _uri(file: str) -> str:
    return quote(file.encode("utf-8", "surrogateescape"), safe="/._-~") or "file"
