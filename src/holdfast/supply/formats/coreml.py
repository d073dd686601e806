"""Core ML: models as protocol buffers, the weights beside them, and the manifest of a package.

A layer or a whole model can be "custom": the name of a class that the application must bring. A
model can link to another one, and weights lie in a file that the model names.
"""

import re
import struct
from collections.abc import Iterator

from holdfast.core.record import Severity
from holdfast.supply import texts, wire
from holdfast.supply.formats import safetensors
from holdfast.supply.pickle_values import Exhausted, Malformed, show
from holdfast.supply.reading import Part, Reading
from holdfast.supply.rules import Rule, Verdict

MOST = 2_000_000
"""Fields that are read of one model."""
DEEPEST = 60
LONGEST = 2**20
MARK = 0xDEADBEEF
"""What each description of a run of weights begins with."""
_SOURCE = "Get the file again from its source, or convert the model anew."
DAMAGED = Rule(
    "archive_scan/coreml-malformed", "The Core ML file is malformed: {reason}", Severity.HIGH,
    _SOURCE, Verdict.MALFORMED,
)  # fmt: skip
CUSTOM = Rule(
    "archive_scan/coreml-custom", "The model needs code of the application: {subject}",
    Severity.MEDIUM, "Review the class that implements it, or refuse the model.", Verdict.UNREAD,
)  # fmt: skip
OUTSIDE = Rule(
    "archive_scan/coreml-path", "The model opens a file outside of its package: {subject}",
    Severity.HIGH, "Do not load it.",
)  # fmt: skip
_TYPES = frozenset(
    {*range(200, 203), *range(300, 305), *range(400, 405), 500, 501, 502, 555, 556, 560,
     *range(600, 611), 900, *range(2000, 2010), 3000}
)  # fmt: skip
"""Fields of a model of which exactly one is there: what kind of model it is."""
_INTO: dict[str, dict[int, str]] = {
    "model": {2: "description", 200: "wrapped", 201: "wrapped", 202: "pipeline", 303: "network",
              403: "network", 500: "network", 502: "program", 555: "custom", 556: "linked",
              3000: "serialized"},
    "wrapped": {1: "pipeline"}, "pipeline": {1: "model"}, "network": {1: "layer"},
    "layer": {500: "custom", 605: "branch", 615: "loop"}, "branch": {1: "network", 2: "network"},
    "loop": {3: "network", 4: "network"}, "custom": {10: "class", 40: "words"},
    "linked": {1: "linked file"}, "linked file": {1: "default", 2: "default"}, "default": {1: "path"},
    "description": {100: "metadata"}, "pair": {1: "words", 2: "words"},
    "metadata": {1: "words", 2: "words", 3: "words", 4: "words", 100: "pair"},
    "program": {2: "named function", 3: "words"}, "named function": {2: "function"},
    "function": {3: "named block"}, "named block": {2: "block"}, "block": {3: "operation"},
    "operation": {1: "operator", 2: "named argument", 4: "block", 5: "named value"},
    "named argument": {2: "argument"}, "argument": {1: "binding"}, "binding": {2: "value"},
    "named value": {2: "value"}, "value": {5: "file"}, "file": {1: "path"},
}  # fmt: skip
"""Messages, and which of their fields lead to which message or to a text that matters."""
_OPERATORS = re.compile(r"[a-z][a-z0-9_]*(?:_\d+)?")
_PATH = re.compile(r"(?:@model_path/)?(?!/)[\w.@ -]+(?:/[\w.@ -]+)*")


def claims(part: Part) -> bool:
    """A version as the first field; or weights; or a manifest by its name."""
    return part.head(1) == b"\x08" or _is_weights(part) or _is_manifest(part)


def read(reading: Reading, part: Part) -> bool:
    """Whatever of the three it is; false where it is none."""
    if _is_weights(part):
        return _weights(reading, part)
    if _is_manifest(part):
        return _manifest(reading, part)
    if not _is_model(part):
        return False
    left = MOST
    try:
        for kind, span in _walk(part, "model", (part.start, part.end), DEEPEST):
            left -= 1
            if left < 0:
                raise Exhausted(f"a model of more than {MOST:,} fields")
            _leaf(reading, part, kind, span)
    except Malformed as error:
        reading.report(part, DAMAGED, str(error))
    reading.took(part, "coreml")
    return True


def _is_model(part: Part) -> bool:
    """A version, a description and one kind of model, and no other fields."""
    numbers = set[int]()
    try:
        for each in wire.fields(part.data, part.start, part.end, 64):
            numbers.add(each.number)
            if each.number not in _TYPES | {1, 2, 10} or (each.number == 1 and each.amount > 64):
                return False
    except (Malformed, Exhausted):
        return False
    return 1 in numbers and len(numbers & _TYPES) == 1


def _walk(
    part: Part, message: str, span: tuple[int, int], depth: int
) -> Iterator[tuple[str, tuple[int, int]]]:
    """Every message and text that matters, with its place; a field of no interest as ""."""
    if depth <= 0:
        raise Exhausted("messages too deep within messages")
    into = _INTO[message]
    for each in wire.fields(part.data, *span):
        inner = into.get(each.number, "")
        if not inner or each.kind != wire.BYTES:
            yield "", span
        elif inner in _INTO:
            yield inner, each.span
            yield from _walk(part, inner, each.span, depth - 1)
        else:
            yield inner, each.span


def _leaf(reading: Reading, part: Part, kind: str, span: tuple[int, int]) -> None:
    """Judge one text."""
    start, end = span
    if kind in ("class", "operator", "path"):
        text = wire.text(part.data, (start, min(end, start + 4096)))
        if kind == "class":
            reading.report(part, CUSTOM, "a custom layer or model", start, show(text))
        elif kind == "operator" and (not _OPERATORS.fullmatch(text) or "custom" in text):
            reading.report(part, CUSTOM, "a custom operation", start, show(text))
        elif kind == "path" and text and (not _PATH.fullmatch(text) or ".." in text):
            reading.report(part, OUTSIDE, "a link or a file of weights", start, show(text))
    elif kind == "words":
        text = wire.text(part.data, (start, min(end, start + LONGEST)), LONGEST)
        texts.review(reading, part, "archive_scan", "the metadata", text, start)
    elif kind in ("serialized", "linked"):
        reading.report(part, CUSTOM, "it is not in the file", start, f"a {kind} model")


def _is_weights(part: Part) -> bool:
    head = part.head(72)
    return head[4:64] == b"\x02" + bytes(59) and head[64:68] == struct.pack("<I", MARK)


def _weights(reading: Reading, part: Part) -> bool:
    """Runs of weights, each behind its description, as the converter writes them."""
    (count,) = struct.unpack_from("<I", part.data, part.start)
    at = part.start + 64
    for number in range(count):
        if at + 64 > part.end or number > 1_000_000:
            reading.report(part, DAMAGED, f"{count:,} runs of weights are said to be there", at)
            break
        mark, _, size, offset = struct.unpack_from("<IIQQ", part.data, at)
        begin = part.start + offset
        if mark != MARK or begin < at + 64 or begin + size > part.end:
            reading.report(part, DAMAGED, "a run of weights that lies elsewhere", at)
            break
        at = begin + size + -(offset + size) % 64
    else:
        if at < part.end:
            reading.report(part, DAMAGED, f"{part.end - at:,} bytes behind the weights", at)
            reading.read(part.within(at, part.end, "bytes behind the weights"))
    reading.took(part, "coreml weights")
    return True


def _is_manifest(part: Part) -> bool:
    return part.called == "Manifest.json" and b'"itemInfoEntries"' in part.head(65_536)


def _manifest(reading: Reading, part: Part) -> bool:
    """Where the items of a package lie."""
    try:
        items = safetensors.tree(part.whole(2**20)).get("itemInfoEntries")
        paths = [item["path"] for item in items.values()] if isinstance(items, dict) else [None]
    except (Malformed, KeyError, TypeError):
        paths = [None]
    for path in paths:
        if not isinstance(path, str):
            reading.report(part, DAMAGED, "a manifest without the paths of its items")
        elif not _PATH.fullmatch(path) or ".." in path:
            reading.report(part, OUTSIDE, "an item of the package", None, show(path))
    reading.took(part, "coreml manifest")
    return True
