"""What a scanner may say about a file: four verdicts, and rules with their severity and remedy."""

from dataclasses import dataclass
from enum import Enum

from holdfast.core.record import Finding, Property, Severity, Stage
from holdfast.supply.pickle_values import show

VERSION = "1"
"""Of the set of rules. A verdict is a function of this number and of the bytes, of nothing else."""

REFS = (
    "AML.T0011.000",
    "AML.T0010.003",
    "OWASP ML06:2023",
    "NIST AI 100-2 supply chain attack",
)
"""Malicious model files in MITRE ATLAS 5.6.0, OWASP and NIST."""

AGAIN = (
    "Nobody knows what the rest of the file does. Do not load it; get it again from its source, "
    "or ask for the weights as safetensors."
)
CONVERT = (
    "Do not load the file. Ask for the weights as safetensors or ONNX, or for the estimator as "
    "skops: these hold no code."
)


class Verdict(Enum):
    """What is known of a file; the first of these that fits. Only `CLEAN` lets it pass."""

    FLAGGED = "flagged"
    MALFORMED = "malformed"
    UNREAD = "not analysed"
    CLEAN = "clean"


@dataclass(frozen=True)
class Rule:
    """One kind of thing that can be wrong.

    Attributes:
        id: `scanner/name`, stable; the scanner is a catalogue id without its family.
        title: one sentence; "{subject}" stands for what it is about.
        severity: how much it matters; from medium on, the file does not pass.
        remedy: what to do.
        verdict: what it makes of the file.
        refs: what else is written about it, such as CVE ids.
    """

    id: str
    title: str
    severity: Severity
    remedy: str
    verdict: Verdict = Verdict.FLAGGED
    refs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Issue:
    """One thing that is wrong with one file.

    Attributes:
        rule: the rule.
        file: name of the file.
        member: path of the part within the file, "" for the file itself; "a!b" is b within a.
        offset: bytes from the beginning of that part.
        reason: what was seen, as part of a sentence.
        subject: the callable, operator or path it is about, safe to print.
    """

    rule: Rule
    file: str
    member: str
    offset: int
    reason: str
    subject: str = ""

    @property
    def title(self) -> str:
        """One sentence."""
        return self.rule.title.replace("{subject}", self.subject).replace("{reason}", self.reason)

    @property
    def where(self) -> str:
        """File, member and byte."""
        inside = f"!{show(self.member, 200)}" if self.member else ""
        return f"{self.file}{inside}, byte {self.offset:,}"

    def finding(self) -> Finding:
        """The same for records and reports."""
        reason = f"{self.reason[:1].upper()}{self.reason[1:]}"
        return Finding(
            rule=f"supply/{self.rule.id}",
            severity=self.rule.severity,
            title=self.title,
            detail=f"{reason}. {self.rule.remedy}",
            where=self.where,
            property=Property.INTEGRITY,
            stage=Stage.DEPLOYMENT,
            refs=(*REFS, *self.rule.refs),
        )


MALFORMED = Rule(
    "archive_scan/malformed", "The file is malformed: {reason}", Severity.HIGH, AGAIN,
    Verdict.MALFORMED,
)  # fmt: skip
BUDGET = Rule(
    "archive_scan/budget", "A part of the file was not analysed: {reason}", Severity.HIGH, AGAIN,
    Verdict.UNREAD,
)  # fmt: skip
UNKNOWN = Rule(
    "archive_scan/unknown-format", "Not analysed: {reason}", Severity.MEDIUM,
    "Nothing can be said about this file.", Verdict.UNREAD,
)  # fmt: skip
TRAILING = Rule(
    "archive_scan/trailing-bytes", "Something lies behind the end: {reason}", Severity.MEDIUM,
    AGAIN, Verdict.MALFORMED,
)  # fmt: skip
MEDIA = Rule(
    "archive_scan/media", "Not a model: {reason}", Severity.LOW,
    "No loader of models reads it, and no scanner here reads what it shows.", Verdict.UNREAD,
)  # fmt: skip
"""Rules that every format shares."""
