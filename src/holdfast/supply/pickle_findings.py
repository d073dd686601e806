"""From the notes of the pickle machine to issues that a reader can act on."""

from holdfast.core.record import Severity
from holdfast.supply import rules
from holdfast.supply.pickle_values import Note
from holdfast.supply.reading import Part, Reading
from holdfast.supply.rules import Rule, Verdict

_LOADS = "Loading the file {subject}"
_RULES = {
    "executes": Rule("pickle_scan/executing-callable", _LOADS, Severity.CRITICAL, rules.CONVERT),
    "unknown": Rule("pickle_scan/unknown-callable", _LOADS, Severity.HIGH, rules.CONVERT),
    "misuse": Rule(
        "pickle_scan/misused-callable", _LOADS + ": {reason}", Severity.HIGH, rules.CONVERT
    ),
    "expands": Rule(
        "pickle_scan/expansion", "The file is short, what it holds is not: {reason}",
        Severity.HIGH, rules.AGAIN,
    ),
    "malformed": Rule(
        "pickle_scan/malformed", rules.MALFORMED.title, Severity.HIGH, rules.AGAIN,
        Verdict.MALFORMED,
    ),
    "budget": Rule(
        "pickle_scan/not-analysed", rules.BUDGET.title, Severity.HIGH, rules.AGAIN, Verdict.UNREAD
    ),
    "loader": Rule(
        "pickle_scan/left-to-loader", "What is loaded depends on the loader: {reason}",
        Severity.MEDIUM, "Load it only with a loader that you know.",
    ),
}  # fmt: skip


def tell(reading: Reading, part: Part, note: Note) -> None:
    """Report a note, with the callable, its place and what calls it."""
    subject = note.subject
    if note.kind in ("executes", "unknown"):
        subject = f"{'calls' if note.calls else 'imports'} {note.subject}"
    elif note.kind == "misuse":
        subject = f"misuses {note.subject}"
    calls = ", ".join(opcode for opcode, _ in note.calls)
    reason = f"{note.reason}; called by {calls}" if calls else note.reason
    reading.report(part, _RULES[note.kind], reason, note.at, subject)
