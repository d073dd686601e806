"""Safetensors: a length, a header of JSON, and numbers; and the index of a model in several files.

The header alone says where each tensor lies. Readers differ in what they let pass, so everything
that the format's text forbids is reported: a length that lies, doubled names, tensors that overlap,
leave gaps or do not fit their shape, bytes that no tensor owns.
"""

import json
import re
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import Any

from holdfast.core.record import Severity
from holdfast.supply import texts
from holdfast.supply.formats import pickles
from holdfast.supply.pickle_values import Exhausted, Malformed, show
from holdfast.supply.reading import Part, Reading
from holdfast.supply.rules import Rule, Verdict

LIMIT = 100_000_000
"""Bytes of a header: the limit of the reference reader."""
MOST = 2**24
"""Bytes of a header that are read: a hundred thousand tensors take less."""
CONTAINERS = 1_000_000
"""Brackets and braces of a header, so that its tree stays small."""
PADDING = 2**16
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "I16": 16, "U16": 16, "F16": 16,
    "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
"""Element types of the reference writer (0.8) and their sizes."""
_SOURCE = "Get the file again from its source, or write it anew from tensors that you trust."
HEADER = Rule(
    "safetensors_scan/header", "The header is wrong: {reason}", Severity.HIGH, _SOURCE,
    Verdict.MALFORMED,
)  # fmt: skip
LAYOUT = Rule(
    "safetensors_scan/layout", "Tensors and bytes do not fit together: {reason}", Severity.HIGH,
    "A reader that trusts the header reads or copies wrong bytes. " + _SOURCE, Verdict.MALFORMED,
)  # fmt: skip
TYPE = Rule(
    "safetensors_scan/unknown-type", "The element type {subject} is not known", Severity.MEDIUM,
    "Nothing can be said about the place of its tensors.", Verdict.UNREAD,
)  # fmt: skip
SHARD = Rule(
    "safetensors_scan/shard-path", "The index leads out of its folder: {subject}", Severity.HIGH,
    "A shard is a file beside its index. Do not load the model by this index.",
)  # fmt: skip
UNSAFE_SHARD = Rule(
    "safetensors_scan/shard-kind", "An index of safetensors names another kind: {subject}",
    Severity.MEDIUM, "Ask for every shard as safetensors.",
)  # fmt: skip
SCANNER = "safetensors_scan"
_INDEX = ".index.json"
_BRACE = re.compile(rb'\s*\{\s*["}]')
_OUTSIDE = re.compile(
    r"(?:^|[\\/])\.\.(?:[\\/]|$)|^[\\/~]|^[A-Za-z]:|^[A-Za-z][A-Za-z0-9+.-]*://|\0"
)


def claims(part: Part) -> bool:
    """A brace behind a length; or an index by its name."""
    return _BRACE.match(part.head(64, 8)) is not None or _is_index(part)


def _is_index(part: Part) -> bool:
    return part.called.lower().endswith(_INDEX) and part.head(64).lstrip()[:1] == b"{"


def read(reading: Reading, part: Part) -> bool:
    """A header whose tensors fill the rest of the file; false where there is no such header."""
    if _is_index(part):
        return _index(reading, part)
    (size,) = struct.unpack_from("<Q", part.data, part.start)
    fits, named = size <= min(len(part) - 8, LIMIT), part.suffix == ".safetensors"
    last = min(size, PADDING) if fits else 0
    if not named and not part.head(last, 8 + size - last).rstrip(b" \t\r\n\0").endswith(b"}"):
        return False
    # the length can be an opcode that makes the header a string of a pickle behind it
    pickles.read(reading, replace(part, raw=True), named=False)
    if not fits:
        reading.report(part, HEADER, f"{size:,} bytes of {len(part):,} are said to be the header")
        return True
    if size > MOST:
        raise Exhausted(f"a header of {size:,} bytes, where at most {MOST:,} are read")
    try:
        _tensors(reading, part, _header(reading, part, size), part.start + 8 + size)
    except Malformed as error:
        reading.report(part, HEADER, str(error), part.start + 8)
        return True
    if part.head(2) == b"\x1f\x8b":
        reading.report(part, HEADER, "its length is the mark of gzip as well")
    reading.took(part, "safetensors")
    return True


def _header(reading: Reading, part: Part, size: int) -> dict[str, Any]:
    """The tree of the header.

    Raises:
        Malformed: it is not the JSON that the format asks for.
        Exhausted: its tree would be far larger than that of a model.
    """
    raw = part.head(size, 8)
    if raw[:1] != b"{":
        reading.report(part, HEADER, "it does not begin with a brace", part.start + 8)
    padding = len(raw) - len(raw.rstrip(b" \t\r\n"))
    if padding > PADDING or raw.rstrip(b" ") != raw.rstrip(b" \t\r\n"):
        reading.report(part, HEADER, f"it ends in {padding:,} bytes of padding", part.start + 8)
    return tree(raw)


def tree(raw: bytes) -> dict[str, Any]:
    """JSON of one object, as the strictest reader takes it.

    Raises:
        Malformed: it is not UTF-8, not JSON, or has a name twice in one object.
        Exhausted: its tree would be far larger than that of a model.
    """
    if raw.count(b"{") + raw.count(b"[") > CONTAINERS:
        raise Exhausted(f"JSON with more than {CONTAINERS:,} lists and objects")
    try:
        told = json.loads(raw.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"JSON that cannot be read: {show(str(error), 90)}") from error
    if not isinstance(told, dict):
        raise Malformed("JSON that is no object")
    return told


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    told = dict(pairs)
    if len(told) != len(pairs):
        double = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise Malformed(f"the name {show(double)} stands twice in one object")
    return told


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def _tensors(reading: Reading, part: Part, header: dict[str, Any], body: int) -> None:
    """Compare names, types, shapes and places with the bytes behind the header."""
    metadata, spans = header.pop("__metadata__", None), []
    if metadata is not None:
        _metadata(reading, part, metadata)
    for name, told in header.items():
        begin, end = _place(reading, part, name, told)
        spans.append((begin, end, name))
    at = 0
    for begin, end, name in sorted(spans):
        if begin < at:
            reading.report(part, LAYOUT, f"{show(name)} overlaps another tensor", body + begin)
        elif begin > at:
            _orphan(reading, part, body + at, body + min(begin, part.end - body))
        at = max(at, end)
    if body + at > part.end:
        missing = body + at - part.end
        reading.report(part, LAYOUT, f"{missing:,} bytes of tensors lie behind the end", part.end)
    elif body + at < part.end:
        _orphan(reading, part, body + at, part.end)


def _orphan(reading: Reading, part: Part, start: int, end: int) -> None:
    """Bytes that no tensor owns."""
    if start < end:
        reading.report(part, LAYOUT, f"no tensor owns {end - start:,} bytes", start)
        reading.read(part.within(start, end, "bytes that no tensor owns"))


def _place(reading: Reading, part: Part, name: str, told: object) -> tuple[int, int]:
    """Where a tensor lies after the header.

    Raises:
        Malformed: the entry has not the form that the format asks for.
    """
    if not isinstance(told, dict) or not {"dtype", "shape", "data_offsets"} <= told.keys():
        raise Malformed(f"{show(name)} has no type, shape and place")
    dtype, shape, place = told["dtype"], told["shape"], told["data_offsets"]
    if not (_counts(shape) and _counts(place) and len(place) == 2 and isinstance(dtype, str)):
        raise Malformed(f"{show(name)} has a type, shape or place that is none")
    extra = told.keys() - {"dtype", "shape", "data_offsets"}
    if extra or not name.isprintable():
        what = f"{show(name)} has the field {show(min(extra))}" if extra else "a name is not text"
        reading.report(part, HEADER, what, part.start + 8)
    begin, end = place
    if end < begin:
        raise Malformed(f"{show(name)} ends before it begins")
    if dtype not in BITS:
        reading.report(part, TYPE, f"{show(name)} has it", part.start + 8, show(dtype))
    elif prod(shape) * BITS[dtype] != (end - begin) * 8:
        reason = f"{show(name)} has {end - begin:,} bytes, and its shape asks for others"
        reading.report(part, LAYOUT, reason, part.start + 8)
    return begin, end


def _counts(told: object) -> bool:
    """Whether something is a list of up to 64 numbers that a 64-bit reader can hold."""
    return (
        isinstance(told, list)
        and len(told) <= 64
        and all(type(n) is int and 0 <= n < 2**64 for n in told)
    )


def _metadata(reading: Reading, part: Part, told: object) -> None:
    """Text by text: the format allows nothing else.

    Raises:
        Malformed: something is no text.
    """
    if not isinstance(told, dict) or not all(isinstance(v, str) for v in told.values()):
        raise Malformed("the metadata is not a map of texts")
    for name, text in told.items():
        texts.review(reading, part, SCANNER, name, name, part.start + 8)
        texts.review(reading, part, SCANNER, name, text, part.start + 8)


def _index(reading: Reading, part: Part) -> bool:
    """The index of a model in several files: every name in it is a file beside it."""
    raw = part.whole(MOST)
    try:
        shards = tree(raw).get("weight_map")
    except Malformed as error:
        reading.report(part, HEADER, str(error))
        return True
    if not isinstance(shards, dict):
        return False
    for name, file in _shards(reading, part, shards):
        at = max(raw.find(json.dumps(file).encode()), 0) + part.start
        if _OUTSIDE.search(file):
            reading.report(part, SHARD, f"{show(name)} lies in {show(file)}", at, show(file))
        elif ".safetensors" in part.called and not file.endswith(".safetensors"):
            reading.report(part, UNSAFE_SHARD, f"{show(name)} lies in {show(file)}", at, show(file))
    reading.took(part, "safetensors index")
    return True


def _shards(reading: Reading, part: Part, shards: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Each file once, with a tensor that it holds."""
    seen: set[str] = set()
    for name, file in shards.items():
        if not isinstance(file, str):
            reading.report(part, HEADER, f"{show(name)} lies in no file")
        elif file not in seen:
            seen.add(file)
            yield name, file
