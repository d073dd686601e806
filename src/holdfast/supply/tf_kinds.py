"""Which of TensorFlow's files a part is. Protocol buffers have no mark, so their shape decides."""

import re
import struct
from collections import Counter

from holdfast.supply import tf_names
from holdfast.supply.pickle_values import Buffer, Exhausted, Malformed
from holdfast.supply.reading import Part
from holdfast.supply.tf_graphs import Span
from holdfast.supply.wire import BYTES, VARINT, Field, fields, text, varint

_PROBE = 50_000
_DATA = re.compile(r".*\.data-\d{5}-of-\d{5}")
_TABLE = 0xDB4775248B80FB57
"""Last eight bytes of a table of LevelDB, in which TensorFlow lists the tensors of a checkpoint."""
_JSON = (b"{", b"[", b"\xef\xbb\xbf")


def possible(part: Part) -> bool:
    """A key of a protocol buffer's field, or the end of a table of tensors, or the name of one."""
    head = part.head(1)
    return bool(head) and (
        (head[0] & 7 in (VARINT, BYTES) and head[0] >> 3 > 0) or _is_table(part) or _is_data(part)
    )


def _is_data(part: Part) -> bool:
    return _DATA.fullmatch(part.called) is not None


def _is_table(part: Part) -> bool:
    """A table's end: the places of two blocks before it, and its mark."""
    if len(part) < 48 or struct.unpack("<Q", part.head(8, len(part) - 8))[0] != _TABLE:
        return False
    try:
        pos = part.end - 48
        for _ in range(2):
            begin, pos = varint(part.data, pos, part.end - 8)
            size, pos = varint(part.data, pos, part.end - 8)
            if begin + size > len(part) - 48:
                return False
    except Malformed:
        return False
    return True


def kind_of(part: Part) -> str:
    """Which file it is, "" where it is none; unknown fields do not matter, as to TensorFlow.

    Names count only for what has no form of its own: raw numbers, and a message of hashes.
    """
    if _is_table(part):
        return "index"
    span = (part.start, part.end)
    found = _probe(part.data, span) if part.head(1)[0] & 7 in (VARINT, BYTES) else None
    spans: dict[int, list[Span]] = {1: [], 2: []}
    for each in found or []:
        if each.kind == BYTES and each.number in spans:
            spans[each.number].append(each.span)
    if any(_is_metadata(part.data, each) for each in spans[1]):
        return "metadata"
    if any(_is_meta(part.data, each) for each in spans[2]):
        return "saved"
    if spans[2] and _is_meta(part.data, span):
        return "meta"
    if found and _is_graph(part.data, span):
        return "graph"
    if found and part.called == "fingerprint.pb" and len(part) < 256:
        return "fingerprint"
    return "data" if _is_data(part) and not part.head(64).lstrip().startswith(_JSON) else ""


def _probe(data: Buffer, span: Span) -> list[Field] | None:
    """Fields of a message, None where it is no message; runs of the same field are cut short."""
    counts, kept = Counter[int](), []
    try:
        for each in fields(data, *span):
            counts[each.number] += 1
            if counts[each.number] <= _PROBE:
                kept.append(each)
    except (Malformed, Exhausted):
        return None
    return kept


def _is_metadata(data: Buffer, span: Span) -> bool:
    """A node of Keras's metadata: an identifier of its own kind."""
    found = _probe(data, span) or []
    names = [
        bytes(data[f.span[0] : f.span[0] + 9]) for f in found if f.number == 4 and f.kind == BYTES
    ]
    return b"_tf_keras" in names


def _is_meta(data: Buffer, span: Span) -> bool:
    """A meta graph: a graph in its second field."""
    found = _probe(data, span) or []
    return any(f.number == 2 and f.kind == BYTES and _is_graph(data, f.span) for f in found)


def _is_graph(data: Buffer, span: Span) -> bool:
    """A graph: nodes, or functions of nodes, of which one at least has an operator that is known."""
    found = _probe(data, span) or []
    nodes = [f.span for f in found if f.number == 1 and f.kind == BYTES]
    for library in (f.span for f in found if f.number == 2 and f.kind == BYTES):
        functions = [
            f.span for f in _probe(data, library) or [] if f.number == 1 and f.kind == BYTES
        ]
        for function in functions:
            inner = _probe(data, function) or []
            nodes += [f.span for f in inner if f.number == 3 and f.kind == BYTES]
    return any(_is_node(data, each) for each in nodes[:_PROBE])


def _is_node(data: Buffer, span: Span) -> bool:
    found = _probe(data, span) or []
    ops = [
        f.span for f in found if f.number == 2 and f.kind == BYTES and f.span[1] - f.span[0] < 99
    ]
    return any(tf_names.standing(text(data, each)) != "custom" for each in ops)
