"""Zip archives: torch's format, TorchScript, .npz, Keras, skops, .mar, and any other."""

import re
from dataclasses import replace
from pathlib import PurePosixPath

from holdfast.supply import archives, rules, zip_entries
from holdfast.supply.formats import torchscript
from holdfast.supply.pickle_values import Exhausted, Malformed
from holdfast.supply.reading import Part, Reading

_STORAGE = re.compile(
    r"(^|/)((data|constants|tensors)/\d+|data/(weights|constants)/(weight|tensor)_\d+"
    r"|\.data/\d+\.storage)$"
)
_CODE = re.compile(r"(^|/)code/.*\.py$")
_PACKAGES = ("MAR-INF/MANIFEST.json", ".data/extern_modules", ".data/python_version")
"""Members by which archives are told whose Python files a loader imports."""


def claims(part: Part) -> bool:
    """The mark of a first member, or of the directory's end anywhere near the end of the data."""
    return part.head(4) == zip_entries.LOCAL or _record(part) is not None


def _record(part: Part) -> int | None:
    return zip_entries.find(part.data, part.start, part.end)


def read(reading: Reading, part: Part) -> bool:
    """Every member by its content; one that cannot be read does not hide the others."""
    record, sure = _record(part), part.head(4) == zip_entries.LOCAL
    try:
        found = _directory(reading, part, record)
    except Malformed as error:
        if not sure:
            return False  # the mark of a zip's end within other data
        reading.report(part, rules.MALFORMED, str(error), record)
        found = zip_entries.streamed(part.data, part.start, part.end)
    if not sure and not found.members and not found.hidden and found.gaps:
        return False
    for problem in found.problems:
        reading.report(part, rules.MALFORMED, problem, record)
    for member in found.hidden:
        if record is not None:
            member.problems.append("is not listed in the directory")
    before = len(reading.pieces)
    members(reading, part, archives.listed(reading, part, found.members + found.hidden))
    for start, end in found.gaps:
        _orphan(reading, part, start, end)
    if len(reading.pieces) == before:
        reading.report(part, rules.UNKNOWN, "an archive in which no part is of a known kind")
    return True


def _directory(reading: Reading, part: Part, record: int | None) -> zip_entries.Directory:
    """What the archive holds.

    Raises:
        Malformed: its directory cannot be read.
    """
    if record is None:
        raise Malformed("a zip archive without its directory")
    try:
        return zip_entries.directory(part.data, part.start, part.end, record)
    except Exhausted as error:
        reading.report(part, rules.BUDGET, str(error))
        return zip_entries.Directory()


def _orphan(reading: Reading, part: Part, start: int, end: int) -> None:
    """Bytes that are of no member."""
    what = f"{end - start:,} bytes between the members of a zip archive"
    if start == part.start:
        what = "bytes before the first member of a zip archive"
    elif end == part.end:
        what = f"{end - start:,} bytes behind the end of a zip archive"
    reading.report(part, rules.TRAILING if end == part.end else rules.MALFORMED, what, start)
    reading.read(part.within(start, end, f"bytes {start - part.start} to {end - part.start}"))


def members(reading: Reading, part: Part, found: list[archives.Member]) -> None:
    """Read the members of any archive."""
    names = {PurePosixPath(each.name).name for each in found}
    torch = not names.isdisjoint(("data.pkl", "bytecode.pkl", "archive_format", "extern_modules"))
    script = not names.isdisjoint(("data.pkl", "bytecode.pkl")) and any(
        _CODE.search(each.name) or each.name.endswith("bytecode.pkl") for each in found
    )
    package = any(each.name.endswith(_PACKAGES) for each in found)
    for member in found:
        raw = torch and _STORAGE.search(member.name) is not None
        inner = archives.unpacked(reading, part, member, raw=raw, script=script)
        if script and member.name.endswith("bytecode.pkl"):
            torchscript.bytecode(reading, inner)
        if script and _CODE.search(member.name) and torchscript.review(reading, inner):
            continue
        if not reading.read(replace(inner, travels=package)):
            reading.others += 1
