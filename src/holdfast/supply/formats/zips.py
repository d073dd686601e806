"""Zip archives: torch's format, TorchScript, .npz, Keras, skops, and any other."""

import re
from pathlib import PurePosixPath

from holdfast.core.record import Severity
from holdfast.supply import archives, rules
from holdfast.supply.pickle_values import Exhausted, Malformed
from holdfast.supply.reading import Part, Reading
from holdfast.supply.rules import Rule, Verdict

SCRIPT = Rule(
    "torchscript_scan/script",
    "The archive holds TorchScript code, which this scanner does not read",
    Severity.MEDIUM, "Review its code, or ask for the weights alone.", Verdict.UNREAD,
)  # fmt: skip
_STORAGE = re.compile(r"(^|/)(data|constants|tensors)/\d+$")


def claims(part: Part) -> bool:
    """The mark of a first member, or of the directory's end anywhere near the end of the data."""
    return part.head(4) == b"PK\x03\x04" or _record(part) is not None


def _record(part: Part) -> int | None:
    return archives.find_zip(part.data, part.start, part.end)


def read(reading: Reading, part: Part) -> bool:
    """Every member by its content; one that cannot be read does not hide the others."""
    record, sure = _record(part), part.head(4) == b"PK\x03\x04"
    if record is None:
        reading.report(part, rules.MALFORMED, "a zip archive without its directory")
        return True
    if not sure:
        try:
            first = min(
                (m.start for m in archives.zip_members(part.data, part.start, part.end, record)),
                default=part.start,
            )
        except (Malformed, Exhausted):
            return False  # the mark of a zip's end within other data
        reading.report(part, rules.MALFORMED, "bytes before the first member of a zip archive")
        reading.dispatch(reading, part.slice(part.start, first))
    entries = archives.zip_members(part.data, part.start, part.end, record)
    return members(reading, part, archives.listed(reading, part, entries))


def members(reading: Reading, part: Part, found: list[archives.Member]) -> bool:
    """Read the members of any archive."""
    torch = any(PurePosixPath(each.name).name == "data.pkl" for each in found)
    script = torch and any("/code/" in each.name for each in found)
    if script:
        reading.report(part, SCRIPT, "compiled code")
    before = len(reading.pieces)
    for member in found:
        raw = torch and _STORAGE.search(member.name) is not None
        inner = archives.unpacked(reading, part, member, raw=raw, script=script)
        if not reading.read(inner):
            reading.others += 1
    if len(reading.pieces) == before:
        reading.report(part, rules.UNKNOWN, "an archive in which no part is of a known kind")
    return True
