"""Pickles: raw, one after the other, and in torch's format before 1.6, followed symbolically."""

import re
import struct
from collections.abc import Iterator

from holdfast.supply import rules
from holdfast.supply.pickle_findings import tell
from holdfast.supply.pickle_machine import Stream
from holdfast.supply.pickle_opcodes import run
from holdfast.supply.pickle_values import Buffer, Listed, Malformed
from holdfast.supply.reading import Part, Reading

SUFFIXES = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt", ".bin", ".sav", ".p")
TORCH_LEGACY = 0x1950A86A20F9469CFC6C
"""First of the five pickles of torch's format before 1.6 (`torch.serialization.MAGIC_NUMBER`)."""


def claims(part: Part) -> bool:
    """Anything: what is no pickle shows when it is followed."""
    return len(part) > 0


def read(reading: Reading, part: Part, named: bool | None = None) -> bool:
    """Pickles one after the other, as torch's old format has them. False when there is none.

    `named` says that a loader would take the part for a pickle, by default by its ending.
    """
    named = (part.suffix in SUFFIXES and not part.raw) if named is None else named
    data, pos, count = part.data, part.start, 0
    legacy, storages = False, dict[str, tuple[int, str]]()
    while pos < part.end:
        stream = run(Stream(data, pos, part.end, reading.allowance, script=part.script))
        reading.opcodes += stream.steps
        if not _is_pickle(stream, part, pos, named and count == 0):
            break
        for note in stream.notes.values():
            tell(reading, part, note)
        reading.took(part, "pickle", stream.pos - pos)
        if stream.wrappers:
            _without_joblib(reading, part, pos, stream)
        for number, (content, start, end) in enumerate(stream.nested, 1):
            inner = part.within(start, end, f"tensor {number}", content)
            if not reading.read(inner) and not read(reading, inner, named=True):
                reading.report(inner, rules.UNKNOWN, "bytes that are loaded as a model file")
        if not stream.done:
            return True
        pos, count = stream.pos, count + 1
        legacy = legacy or (count == 1 and stream.value == TORCH_LEGACY)
        storages.update(stream.storages)
        if legacy and count == 5:
            pos = _storages(reading, part, pos, stream.value, storages)
    if count and pos < part.end:
        reading.report(part, rules.TRAILING, f"{part.end - pos:,} bytes after the last pickle", pos)
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
    for key, note in plain.notes.items():
        if key not in seen.notes and (note.kind == "executes" or note.calls):
            tell(reading, part, note)


def _storages(
    reading: Reading, part: Part, pos: int, keys: object, known: dict[str, tuple[int, str]]
) -> int:
    """Pass over the numbers behind the five pickles of torch's old format; where they end."""
    try:
        for _, _, end in spans_of(part.data, pos, keys, known, part.end):
            pos = end
    except Malformed as error:
        reading.report(part, rules.MALFORMED, str(error), pos)
    return pos


def spans_of(
    data: Buffer, pos: int, keys: object, known: dict[str, tuple[int, str]], end: int | None = None
) -> Iterator[tuple[str, int, int]]:
    """Key, begin and end of each storage of torch's old format, whose first length is at `pos`.

    Raises:
        Malformed: a storage is not one that a tensor asks for, or has another length.
    """
    end = len(data) if end is None else end
    for key in keys.items if isinstance(keys, Listed) else ():
        count, kind = known.get(key, (-1, "")) if isinstance(key, str) else (-1, "")
        size = ELEMENT.get(kind.removesuffix("Storage"))
        if not isinstance(key, str) or size is None or pos + 8 > end:
            raise Malformed("a storage that no tensor asks for")
        (told,) = struct.unpack_from("<q", data, pos)
        if told != count or pos + 8 + told * size > end:
            raise Malformed("a storage of the wrong length")
        yield key, pos + 8, pos + 8 + told * size
        pos += 8 + told * size


ELEMENT = {
    "Bool": 1, "Byte": 1, "Char": 1, "Short": 2, "Half": 2, "BFloat16": 2, "Int": 4, "Float": 4,
    "Long": 8, "Double": 8, "ComplexFloat": 8, "ComplexDouble": 16, "QInt8": 1, "QUInt8": 1,
    "QInt32": 4, "QUInt4x2": 1, "QUInt2x4": 1, "Untyped": 1,
}  # fmt: skip
_IDENTIFIERS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
