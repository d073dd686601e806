"""From the notes of the pickle machine to findings that a reader can act on."""

from holdfast.core.record import Finding, Measurement, Property, Severity, Stage
from holdfast.supply.pickle_values import Note, show

SCANNER = "supply/pickle_scan"
REFS = (
    "AML.T0011.000",
    "AML.T0010.003",
    "OWASP ML06:2023",
    "NIST AI 100-2 supply chain attack",
)
REFUSE = (
    "Do not load the file. Ask for the weights as safetensors or ONNX, or for the estimator as "
    "skops: these hold no code."
)
AGAIN = (
    "Nobody knows what the rest of the file does. Do not load it; get it again from its source, "
    "or ask for the weights as safetensors."
)

_KINDS: dict[str, tuple[str, Severity, str]] = {
    "executes": ("executing-callable", Severity.CRITICAL, REFUSE),
    "unknown": ("unknown-callable", Severity.HIGH, REFUSE),
    "misuse": ("misused-callable", Severity.HIGH, REFUSE),
    "malformed": ("malformed", Severity.HIGH, AGAIN),
    "budget": ("not-analysed", Severity.HIGH, AGAIN),
    "loader": ("left-to-loader", Severity.MEDIUM, "Load it only with a loader that you know."),
    "trailing": ("trailing-bytes", Severity.MEDIUM, AGAIN),
    "script": ("script", Severity.MEDIUM, "Review its code, or ask for the weights alone."),
    "unknown-format": ("not-analysed", Severity.MEDIUM, "Nothing can be said about this file."),
}


def explain(note: Note, file: str, member: str, offset: int) -> Finding:
    """A note in words, with the callable, its place and what to do."""
    rule, severity, remedy = _KINDS[note.kind]
    if note.kind in ("executes", "unknown"):
        title = f"Loading the file {'calls' if note.calls else 'imports'} {note.subject}"
    elif note.kind == "misuse":
        title = f"Loading the file misuses {note.subject}: {note.reason}"
    else:
        title = _TITLES[note.kind].format(reason=note.reason)
    calls = ", ".join(opcode for opcode, _ in note.calls)
    reason = f"{note.reason[:1].upper()}{note.reason[1:]}"
    told = f"{reason}; called by {calls}." if calls else f"{reason}."
    inside = f"!{show(member, 200)}" if member else ""
    where = f"{file}{inside}, byte {offset:,}"
    return finding(rule, severity, title, f"{told} {remedy}", where)


_TITLES = {
    "malformed": "The file is malformed: {reason}",
    "budget": "A part of the file was not analysed: {reason}",
    "loader": "What is loaded depends on the loader: {reason}",
    "trailing": "Something lies behind the end: {reason}",
    "script": "The archive holds TorchScript code, which this scanner does not read",
    "unknown-format": "Not analysed: {reason}",
}


def finding(
    rule: str, severity: Severity, title: str, detail: str, where: str,
    evidence: tuple[Measurement, ...] = (),
) -> Finding:  # fmt: skip
    """A finding of the pickle scanner."""
    return Finding(
        rule=f"{SCANNER}/{rule}",
        severity=severity,
        title=title,
        detail=detail,
        where=where,
        property=Property.INTEGRITY,
        stage=Stage.DEPLOYMENT,
        evidence=evidence,
        refs=REFS,
    )
