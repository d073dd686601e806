"""Files that `holdfast encrypt` sealed: the header is read, the content stays shut."""

from holdfast.core.record import Severity
from holdfast.supply import sealed
from holdfast.supply.reading import Part, Reading
from holdfast.supply.rules import Rule, Verdict

SEALED = Rule(
    "encryption/sealed", "Sealed, so its content was not analysed", Severity.MEDIUM,
    "Scan the file before it is sealed, or decrypt it and scan it then.", Verdict.UNREAD,
)  # fmt: skip
WEAK = Rule(
    "encryption/weak", "Sealed, but weakly: {reason}", Severity.MEDIUM,
    "Seal it again with the settings of today, or with a key file.", Verdict.FLAGGED,
)  # fmt: skip
CUT = Rule(
    "encryption/cut", "Sealed, but its end is missing: {reason}", Severity.HIGH,
    "Get the file again from where it was sealed.", Verdict.MALFORMED,
)  # fmt: skip


def claims(part: Part) -> bool:
    """Whether it begins as a sealed file does."""
    return part.head(8) == sealed.MAGIC


def read(reading: Reading, part: Part) -> bool:
    """Report what the header says; a header that cannot be read is malformed."""
    header = sealed.parse(part.head(sealed.length(part.head(12))))
    told = f"a {header.way} opens it, {header.chunk:,} bytes per chunk"
    reading.report(part, SEALED, f"{sealed.AEAD}; {told}")
    for weakness in header.weaknesses():
        reading.report(part, WEAK, weakness)
    if header.content(len(part)) is None:
        reading.report(part, CUT, f"{len(part):,} bytes are not a whole number of chunks")
    reading.took(part, "sealed header", header.size)
    return True
