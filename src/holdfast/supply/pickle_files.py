"""What lies in a model file that may hold pickles: every part by its content, never by its name.

`scan_file` is a pure function of the file's bytes: it loads nothing, imports nothing that the file
names, and does not depend on what is installed.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from mmap import ACCESS_READ, mmap
from pathlib import Path, PurePosixPath

from holdfast.core.errors import InputError
from holdfast.core.record import Finding, Measurement, Severity
from holdfast.supply import archives, arrays
from holdfast.supply.formats import other_format
from holdfast.supply.pickle_findings import explain, finding
from holdfast.supply.pickle_machine import Allowance, Stream
from holdfast.supply.pickle_opcodes import run
from holdfast.supply.pickle_values import Buffer, Exhausted, Listed, Malformed, Note

SUFFIXES = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt", ".bin", ".sav", ".p")
TORCH_LEGACY = 0x1950A86A20F9469CFC6C
"""First of the five pickles of torch's format before 1.6 (`torch.serialization.MAGIC_NUMBER`)."""
_SMALL = 2**26


@dataclass
class Part:
    """A run of bytes that is read by itself: the file, or a member of an archive in it."""

    data: Buffer
    start: int
    end: int
    name: str
    depth: int
    raw: bool = False
    script: bool = False

    def within(self, start: int, end: int, name: str, data: Buffer | None = None) -> "Part":
        """A part of this part."""
        label = f"{self.name}!{name}" if self.name else name
        return Part(self.data if data is None else data, start, end, label, self.depth - 1)


@dataclass
class Reading:
    """What was read of one file, and what was found."""

    file: str
    allowance: Allowance = field(default_factory=Allowance)
    findings: list[Finding] = field(default_factory=list)
    parts: list[tuple[str, int]] = field(default_factory=list)
    opcodes: int = 0
    others: int = 0

    def add(self, part: Part, notes: list[Note]) -> None:
        """Findings from notes, with offsets counted from the part's own beginning."""
        for note in notes:
            self.findings.append(explain(note, self.file, part.name, note.at - part.start))

    def say(self, part: Part, kind: str, reason: str, at: int = 0) -> None:
        """One finding about a part as a whole."""
        self.findings.append(explain(Note(kind, "", 0, reason), self.file, part.name, at))


def scan_file(path: Path) -> tuple[Finding, ...]:
    """Everything that loading this file could do, without loading it; the worst comes first.

    The last finding always tells which bytes were read. It says "no unsafe callable" only when
    nothing else was found.

    Raises:
        InputError: there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("a model file to scan", got=str(path), fix="give the path of a file")
    reading = Reading(path.name)
    size = path.stat().st_size
    with path.open("rb") as file:
        data: Buffer = file.read() if size <= _SMALL else mmap(file.fileno(), 0, access=ACCESS_READ)
        whole = Part(data, 0, len(data), "", reading.allowance.depth)
        if not _read(reading, whole, named=path.suffix.lower() in SUFFIXES):
            _unknown(reading, whole)
        if isinstance(data, mmap):
            data.close()
    found = sorted(reading.findings, key=lambda each: -each.severity)
    return (*found, _summary(reading))


def _unknown(reading: Reading, whole: Part) -> None:
    kind = other_format(whole.data, whole.start, whole.end)
    if kind:
        reading.parts.append((kind, whole.end))
        text = f"{kind} holds no pickle; its other risks are for other scanners"
        reading.findings.append(
            finding("other-format", Severity.INFO, f"Not a pickle but {kind}", text, reading.file)
        )
    else:
        reading.say(whole, "unknown-format", "neither a pickle nor a container that can hold one")


def _summary(reading: Reading) -> Finding:
    size, count = sum(n for _, n in reading.parts), len(reading.parts)
    clean = not any(f.severity > Severity.INFO for f in reading.findings)
    told = f"read {size:,} bytes in {count} {'part' if count == 1 else 'parts'}"
    title = f"No unsafe callable: {told}" if clean and count else told.capitalize()
    names = ", ".join(f"{name or 'the file itself'} ({n:,})" for name, n in reading.parts[:12])
    more = f" and {count - 12} more" if count > 12 else ""
    evidence = (
        Measurement("parts read", count, count, count, count),
        Measurement("bytes read", size, count, size, size, unit="bytes"),
        Measurement("opcodes followed", reading.opcodes, count, reading.opcodes, reading.opcodes),
    )
    others = f" {reading.others} other members hold no pickle." if reading.others else ""
    detail = f"Parts and their bytes: {names}{more}.{others}" if names else "Nothing was read."
    return finding("read", Severity.INFO, title, detail, reading.file, evidence)


def _read(reading: Reading, part: Part, named: bool = False) -> bool:
    """Read a part by its content. False when it is of no kind that can hold a pickle."""
    data, start, end = part.data, part.start, part.end
    if part.depth <= 0:
        reading.say(part, "budget", "archives lie within archives, too deep to follow")
        return True
    if part.raw:
        return _pickles(reading, part)
    head = bytes(data[start : min(start + 13, end)])
    record = archives.find_zip(data, start, end)
    if record is not None and _zip(reading, part, record, sure=head[:4] == b"PK\x03\x04"):
        return True
    if head[:4] == b"PK\x03\x04":
        reading.say(part, "malformed", "a zip archive without its directory")
        return True
    if head[:6] == arrays.MAGIC:
        return _arrays(reading, part)
    if kind := archives.compression(head):
        _pickles(reading, part)
        return _compressed(reading, part, kind)
    if archives.is_tar(data, start, end):
        _pickles(reading, part)
        return _members(reading, part, archives.tar_members(data, start, end))
    return _pickles(reading, part, named=named and not other_format(data, start, end))


def _zip(reading: Reading, part: Part, record: int, sure: bool) -> bool:
    """A zip archive: torch's format, .npz, skops or any other."""
    entries = archives.zip_members(part.data, part.start, part.end, record)
    if sure:
        return _members(reading, part, entries)
    try:
        list(entries)
    except (Malformed, Exhausted):
        return False  # the mark of a zip's end within other data
    reading.say(part, "malformed", "bytes before the first member of a zip archive")
    _pickles(reading, part)
    return _members(reading, part, archives.zip_members(part.data, part.start, part.end, record))


def _members(reading: Reading, part: Part, entries: Iterator[archives.Member]) -> bool:
    """Every member by its content; one that cannot be read does not hide the others."""
    members: list[archives.Member] = []
    try:
        members.extend(entry for entry in entries if not entry.name.endswith("/"))
    except Malformed as error:
        reading.say(part, "malformed", str(error))
    except Exhausted as error:
        reading.say(part, "budget", str(error))
    torch = any(PurePosixPath(each.name).name == "data.pkl" for each in members)
    script = torch and any("/code/" in each.name for each in members)
    if script:
        reading.say(part, "script", "compiled code")
    before = len(reading.parts)
    for member in members:
        inner = _unpacked(reading, part, member)
        inner.raw = torch and _STORAGE.search(member.name) is not None
        inner.script = script
        suffix = PurePosixPath(member.name).suffix.lower()
        if not _read(reading, inner, named=suffix in SUFFIXES and not inner.raw):
            reading.others += 1
    if len(reading.parts) == before:
        reading.say(part, "unknown-format", "an archive in which no part is a pickle")
    return True


def _unpacked(reading: Reading, part: Part, member: archives.Member) -> Part:
    """The bytes of a member, and findings about its packing."""
    inner = part.within(member.start, member.end, member.name)
    for problem in member.problems:
        reading.say(inner, "malformed", f"a member {problem}")
    if member.method == archives.STORED:
        return inner
    if member.method != archives.DEFLATED:
        reading.say(inner, "budget", f"packed by method {member.method}, which is not read")
        return part.within(0, 0, member.name, b"")
    return _inflated(reading, inner, "deflate", part.within(0, 0, member.name, b""))


def _inflated(reading: Reading, part: Part, kind: str, out: Part) -> Part:
    """`out`, filled with what `part` unpacks to."""
    try:
        content, problem = archives.inflate(
            part.data, part.start, part.end, kind, reading.allowance
        )
    except Exhausted as error:
        reading.say(part, "budget", str(error))
        return out
    if problem:
        reading.say(part, "malformed", problem)
    out.data, out.end = content, len(content)
    return out


def _compressed(reading: Reading, part: Part, kind: str) -> bool:
    inner = _inflated(reading, part, kind, part.within(0, 0, kind, b""))
    if inner.end and not _read(reading, inner):
        reading.say(inner, "unknown-format", f"{kind} data that is no pickle")
    return True


def _arrays(reading: Reading, part: Part) -> bool:
    """NumPy's own files, one array after the other."""
    pos = part.start
    while part.data[pos : pos + 6] == arrays.MAGIC:
        inner = Part(part.data, pos, part.end, part.name, part.depth - 1)
        try:
            body, size = arrays.read_header(part.data, pos, part.end)
        except Malformed as error:
            reading.say(part, "malformed", str(error), pos - part.start)
            return True
        except Exhausted as error:
            reading.say(part, "budget", str(error), pos - part.start)
            return True
        if size is None:
            inner.start = body
            return _pickles(reading, inner, named=True)
        pos = body + size
        if pos > part.end:
            reading.say(part, "malformed", "an array that is longer than the file")
            return True
        reading.parts.append((part.name, pos - inner.start))
    if pos < part.end:
        reading.say(part, "trailing", f"{part.end - pos:,} bytes after an array", pos - part.start)
        _pickles(reading, Part(part.data, pos, part.end, part.name, part.depth - 1))
    return True


def _pickles(reading: Reading, part: Part, named: bool = False) -> bool:
    """Pickles one after the other, as torch's old format has them. False when there is none."""
    data, pos, count = part.data, part.start, 0
    legacy, storages = False, dict[str, tuple[int, str]]()
    while pos < part.end:
        stream = run(Stream(data, pos, part.end, reading.allowance, script=part.script))
        reading.opcodes += stream.steps
        if not _is_pickle(stream, part, pos, named and count == 0):
            break
        reading.add(part, list(stream.notes.values()))
        reading.parts.append((part.name, stream.pos - pos))
        if stream.wrappers:
            _without_joblib(reading, part, pos, stream)
        for number, (content, start, end) in enumerate(stream.nested, 1):
            inner = part.within(start, end, f"tensor {number}", content)
            if not _read(reading, inner, named=True):
                reading.say(inner, "unknown-format", "bytes that are loaded as a model file")
        if not stream.done:
            return True
        pos, count = stream.pos, count + 1
        legacy = legacy or (count == 1 and stream.value == TORCH_LEGACY)
        storages.update(stream.storages)
        if legacy and count == 5:
            pos = _storages(reading, part, pos, stream.value, storages)
    if count and pos < part.end:
        reason = f"{part.end - pos:,} bytes after the last pickle"
        reading.say(part, "trailing", reason, pos - part.start)
    return count > 0


def _is_pickle(stream: Stream, part: Part, pos: int, named: bool) -> bool:
    """Whether a stream is a pickle at all, and not text or numbers that were read as one."""
    header = part.data[pos] == 0x80 and pos + 1 < part.end and part.data[pos + 1] <= 8
    serious = any(
        note.kind == "executes"
        or (
            (note.kind == "misuse" or (note.kind == "unknown" and note.calls))
            and _IDENTIFIERS.fullmatch(note.subject)
        )
        for note in stream.notes.values()
    )
    serious = serious or bool(stream.nested)
    if part.raw:
        return serious or (header and stream.done)
    return serious or header or stream.done or named


def _without_joblib(reading: Reading, part: Part, pos: int, seen: Stream) -> None:
    """The same bytes as `pickle.load` reads them, which knows nothing of arrays in between."""
    plain = run(Stream(part.data, pos, part.end, reading.allowance, joblib=False))
    reading.opcodes += plain.steps
    new = [note for key, note in plain.notes.items() if key not in seen.notes]
    reading.add(part, [note for note in new if note.kind == "executes" or note.calls])


def _storages(
    reading: Reading, part: Part, pos: int, keys: object, known: dict[str, tuple[int, str]]
) -> int:
    """Pass over the numbers behind the five pickles of torch's old format; where they end."""
    for key in keys.items if isinstance(keys, Listed) else ():
        count, kind = known.get(key, (-1, "")) if isinstance(key, str) else (-1, "")
        size = _ELEMENT.get(kind.removesuffix("Storage"))
        if size is None or pos + 8 > part.end:
            reading.say(part, "malformed", "a storage that no tensor asks for", pos - part.start)
            return pos
        (told,) = struct.unpack_from("<q", part.data, pos)
        if told != count or pos + 8 + told * size > part.end:
            reading.say(part, "malformed", "a storage of the wrong length", pos - part.start)
            return pos
        pos += 8 + told * size
    return pos


_ELEMENT = {
    "Bool": 1, "Byte": 1, "Char": 1, "Short": 2, "Half": 2, "BFloat16": 2, "Int": 4, "Float": 4,
    "Long": 8, "Double": 8, "ComplexFloat": 8, "ComplexDouble": 16, "QInt8": 1, "QUInt8": 1,
    "QInt32": 4, "QUInt4x2": 1, "QUInt2x4": 1, "Untyped": 1,
}  # fmt: skip
_STORAGE = re.compile(r"(^|/)(data|constants|tensors)/\d+$")
_IDENTIFIERS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
