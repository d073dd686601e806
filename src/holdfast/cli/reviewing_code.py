"""`review-code`: what is odd in training scripts, line by line, without running them."""

import json as json_
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.padding import Padding
from rich.text import Text

from holdfast.cli.console import COLOURS, out, write
from holdfast.core.record import Finding, Severity
from holdfast.supply.training_code import Review, review_file, scripts


def run_review_code(paths: Sequence[Path], json: Path | None = None, every: bool = False) -> int:
    """0 when nothing of medium severity or worse was found, else 1.

    Args:
        paths: scripts and folders.
        json: where to write everything, `-` for the standard output.
        every: show what is low as well.
    """
    reviews = [review_file(path, name) for path, name in scripts(paths)]
    if json is not None:
        write(json, json_.dumps([_node(each) for each in reviews], indent=1) + "\n")
    if json != Path("-"):
        for each in reviews:
            for line in _lines(each, every):
                out.print(line)
        out.print(_summary(reviews))
    return int(any(each.worst >= Severity.MEDIUM for each in reviews))


def _node(review: Review) -> dict[str, Any]:
    return {
        "file": review.file,
        "lines": review.lines,
        "findings": [
            {
                "rule": f"supply/{each.rule.id}",
                "severity": each.rule.severity.name.lower(),
                "line": each.line,
                "code": each.subject,
                "reason": each.reason,
                "remedy": each.rule.remedy,
            }
            for each in review.found
        ],
    }


def _lines(review: Review, every: bool) -> Iterator[Text | Padding]:
    odd = review.worst >= Severity.MEDIUM
    head = ("to review    ", "bold red") if odd else ("quiet        ", "green")
    yield Text.assemble(head, (review.file, "bold"), (f"  {review.lines:,} lines", "dim"))
    least = Severity.LOW if every else Severity.MEDIUM
    for each in review.findings:
        if each.severity >= least:
            yield _told(each)


def _told(finding: Finding) -> Padding:
    severity = finding.severity
    text = Text.assemble(
        (severity.name.lower(), COLOURS.get(severity, "dim")), f"  {finding.title}.\n",
        (f"{finding.where}. {finding.detail}", "dim"),
    )  # fmt: skip
    return Padding(text, (0, 0, 0, 13), expand=False)


def _summary(reviews: Sequence[Review]) -> Text:
    odd = sum(each.worst >= Severity.MEDIUM for each in reviews)
    files = f"{len(reviews)} script{'' if len(reviews) == 1 else 's'}"
    return Text(f"{files}, {odd} to review. Each file was read by itself; nothing was run.", "dim")
