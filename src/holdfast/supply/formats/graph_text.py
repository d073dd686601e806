"""Graphs of TensorFlow written as text (.pbtxt), which it loads as it does the binary ones.

Operators are found by their key, however the text is broken, quoted or escaped. What they are
connected to is not followed, so that such a file is never called clean.
"""

import re
from collections import Counter

from holdfast.core.record import Severity
from holdfast.supply import tf_names
from holdfast.supply.formats import pickles, savedmodel
from holdfast.supply.pickle_values import Exhausted, show
from holdfast.supply.reading import Part, Reading
from holdfast.supply.rules import Rule, Verdict

TEXT = Rule(
    "savedmodel_scan/text", "A graph that is written as text is not fully analysed",
    Severity.MEDIUM, "Save it in the binary form, and scan that.", Verdict.UNREAD,
)  # fmt: skip
_MOST, _NODES, _TOLD = 64 * 2**20, 250_000, 100
_GAP = rb"(?:\s|#[^\n]*+)*+"
_STRING = rb"(?:\"(?:[^\"\\\n]|\\.)*+\"|'(?:[^'\\\n]|\\.)*+')"
_MARK = re.compile(
    rb"\b(?:node|meta_graphs|graph_def|library|saved_model_schema_version)\b" + _GAP + rb"[:{<]"
)
_OP = re.compile(rb"\bop\b" + _GAP + rb":?" + _GAP + rb"((?:" + _STRING + _GAP + rb")++)")
_PIECE = re.compile(_STRING)
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|(.))", re.DOTALL)


def claims(part: Part) -> bool:
    """Text, as far as the beginning shows."""
    return b"\0" not in part.head(4096)


def read(reading: Reading, part: Part) -> bool:
    """Every operator; false where there is none that TensorFlow has."""
    content = part.whole(_MOST) if len(part) <= _MOST else b""
    if not _MARK.search(content):
        return False
    counts, first = Counter[str](), dict[str, int]()
    for number, found in enumerate(_OP.finditer(content)):
        if number >= _NODES:
            raise Exhausted(f"a graph of more than {_NODES:,} nodes")
        name = _unquoted(found[1])
        counts[name] += 1
        first.setdefault(name, found.start())
    if all(tf_names.standing(name) == "custom" for name in counts):
        return False
    reaching = [name for name in counts if tf_names.standing(name) != "custom"]
    unknown = [name for name in counts if tf_names.standing(name) == "custom"]
    for name in (*reaching, *unknown[:_TOLD]):
        savedmodel.tell(reading, part, name, counts[name], part.start + first[name])
    reading.report(part, TEXT, "its connections are not followed")
    reading.took(part, "TensorFlow graph as text")
    pickles.read(reading, part, named=False)  # the first bytes can be both
    return True


def _unquoted(strings: bytes) -> str:
    """What strings that follow each other say together."""
    joined = b"".join(piece[1:-1] for piece in _PIECE.findall(strings))
    return show(_ESCAPE.sub(_character, joined).decode("utf-8", "replace"), 200)


def _character(found: re.Match[bytes]) -> bytes:
    if found[1] or found[2]:
        return bytes([(int(found[1], 8) if found[1] else int(found[2], 16)) & 255])
    return found[3]
