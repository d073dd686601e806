"""Python sources: alone, in repositories, and in archives whose loader imports them."""

import re

from holdfast.core.record import Severity
from holdfast.supply import code_review
from holdfast.supply.formats import pickles
from holdfast.supply.pickle_machine import Stream
from holdfast.supply.pickle_opcodes import run
from holdfast.supply.pickle_values import Malformed, show
from holdfast.supply.reading import Part, Reading
from holdfast.supply.rules import Rule, Verdict

_READ = "Read the code before anything imports it, or ask for the weights alone."
ON_IMPORT = Rule(
    "remote_code/on-import", "Importing the code {subject}", Severity.HIGH, _READ
)  # fmt: skip
TRAVELS = Rule(
    "remote_code/travels", "Code travels with the model: it {subject}", Severity.MEDIUM,
    "Its loader imports and runs the code. " + _READ, Verdict.UNREAD,
)  # fmt: skip
BROKEN = Rule(
    "remote_code/not-analysed", "The code cannot be read: {reason}", Severity.MEDIUM, _READ,
    Verdict.UNREAD,
)  # fmt: skip
_SHEBANG = re.compile(rb"#![^\n]{0,200}python")
_SUFFIXES = (".py", ".pyw", ".pyi")


def claims(part: Part) -> bool:
    """The ending of Python, or a first line that asks for it."""
    return part.suffix in _SUFFIXES or _SHEBANG.match(part.head(256)) is not None


def read(reading: Reading, part: Part) -> bool:
    """All of it; false where it is a pickle or another file that is called so."""
    stream = run(Stream(part.data, part.start, part.end, reading.allowance))
    reading.opcodes += stream.steps
    whole = stream.done and all(note.kind != "malformed" for note in stream.notes.values())
    if whole and (stream.notes or stream.nested):
        # "import" alone begins like an opcode, so only a pickle that has an end counts
        pickles.read(reading, part, named=False)
    try:
        found = code_review.effects(part.whole(code_review.MOST))
    except Malformed as error:
        reading.report(part, BROKEN, str(error))
        return False  # it may be something else
    reading.took(part, "Python source")
    for effect in found:
        reason = f"line {effect.line}"
        if effect.imports:
            reading.report(part, ON_IMPORT, reason, None, show(effect.what, 120))
        elif part.travels:
            reading.report(part, TRAVELS, reason, None, show(effect.what, 120))
    return True
