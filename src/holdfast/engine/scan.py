"""Run any scanner on model files: what it found, how many of it, and how much it read."""

from pathlib import Path

from holdfast.core.errors import InputError, NotApplicable
from holdfast.core.kinds import Scanner
from holdfast.core.record import Finding, Measurement, Severity
from holdfast.core.run import Run
from holdfast.engine.case import Case, Evidence

CALLABLE = "-callable"
"""Ending of the rules that are about a callable."""


def scan(method: Scanner, path: Path, run: Run) -> tuple[Finding, ...]:
    """All findings about one file, the worst first.

    Raises:
        InputError: there is no such file.
    """
    if not path.is_file():
        raise InputError("a model file to scan", got=str(path), fix="give the path of a file")
    found = sorted(method.scan(path), key=lambda finding: -finding.severity)
    run.progress(1, 1)
    return tuple(found)


def evidence(findings: tuple[Finding, ...], files: int) -> Evidence:
    """Exact counts, over as many parts as the scanner said that it read.

    A part is a pickle, an array or another piece of a file. "other findings" counts what else is
    wrong, and what could not be followed to its end: a file with any of it is not clean.
    """
    read = [m for f in findings for m in f.evidence if m.name in ("parts read", "bytes read")]
    parts = sum(int(m.value) for m in read if m.name == "parts read")
    unsafe = sum(f.rule.endswith(CALLABLE) and f.severity >= Severity.HIGH for f in findings)
    unread = sum(f.severity >= Severity.MEDIUM and not f.rule.endswith(CALLABLE) for f in findings)
    counts = {
        "unsafe callables": unsafe,
        "other findings": unread,
        "parts read": parts,
        "files read": files,
    }
    measurements = [
        Measurement(name, float(count), max(parts, files), float(count), float(count))
        for name, count in counts.items()
    ]
    size = sum(m.value for m in read if m.name == "bytes read")
    measurements.append(
        Measurement("bytes read", size, max(parts, files), size, size, unit="bytes")
    )
    return Evidence(tuple(measurements), rows=max(parts, files), findings=findings)


def assess(method: Scanner, case: Case, run: Run) -> Evidence:
    """Scan every file of the model.

    Raises:
        NotApplicable: the model has no file here, such as one behind an address.
    """
    if not case.files:
        raise NotApplicable("needs the model's files on disk, and there are none")
    found: list[Finding] = []
    for number, path in enumerate(case.files, 1):
        found += scan(method, path, Run(seed=run.seed))
        run.progress(number, len(case.files))
    found.sort(key=lambda finding: -finding.severity)
    return evidence(tuple(found), len(case.files))
