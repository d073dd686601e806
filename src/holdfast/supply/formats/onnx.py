"""ONNX models: what they run beside arithmetic, which files they open, and how large they say they are.

A model is a graph of named operators. Those of ONNX's domains compute; others need a library, which
nobody here reads. Weights may lie in other files, named by a path that a runtime opens.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod

from holdfast.core.record import Severity
from holdfast.supply import onnx_schema as schema
from holdfast.supply import templates, texts, wire
from holdfast.supply.formats import pickles
from holdfast.supply.pickle_values import Exhausted, Malformed, show
from holdfast.supply.reading import Part, Reading
from holdfast.supply.rules import Rule, Verdict

MOST = 2_000_000
"""Fields that are read of one model: graphs of fifty thousand nodes have fewer."""
DEEPEST = 24
LONGEST = 2**20
SCANNER = "onnx_scan"
_SOURCE = "Get the file again from its source, or export the model anew."
HEADER = Rule(
    "onnx_scan/malformed", "The model is malformed: {reason}", Severity.HIGH, _SOURCE,
    Verdict.MALFORMED,
)  # fmt: skip
LAYOUT = Rule(
    "onnx_scan/size", "A tensor's sizes are wrong: {reason}", Severity.HIGH,
    "A runtime that believes them asks for memory or reads behind its end. " + _SOURCE,
    Verdict.MALFORMED,
)  # fmt: skip
PATH = Rule(
    "onnx_scan/external-path", "The model opens a file outside of its folder: {subject}",
    Severity.HIGH, "Do not load it: a runtime reads, and some tools write, that file.",
    refs=("CVE-2022-25882", "CVE-2024-27318", "CVE-2025-51480", "CVE-2026-27489", "CVE-2026-34447"),
)  # fmt: skip
KEY = Rule(
    "onnx_scan/external-key", "External data has a key that is none: {subject}", Severity.HIGH,
    "Readers have set attributes of their own objects by it. " + _SOURCE, refs=("CVE-2026-34445",),
)  # fmt: skip
PYTHON = Rule(
    "onnx_scan/executing-operator", "The model calls Python: {subject}", Severity.CRITICAL,
    "Do not load it. Ask for a model of ONNX's own operators.",
)  # fmt: skip
CUSTOM = Rule(
    "onnx_scan/custom-operator", "The model needs code of another library: {subject}",
    Severity.MEDIUM, "Review the library that brings the operator, or refuse the model.",
    Verdict.UNREAD,
)  # fmt: skip
SHADOW = Rule(
    "onnx_scan/shadowed-operator", "The model redefines an operator of ONNX: {subject}",
    Severity.MEDIUM, "Readers differ in which of the two they run. Ask for another name.",
)  # fmt: skip
HIDDEN = Rule(
    "onnx_scan/hidden-field", "The model has bytes that no ONNX reader shows: {subject}",
    Severity.MEDIUM, "They travel with the model and are no part of it. " + _SOURCE,
)  # fmt: skip
TRAINING = Rule(
    "onnx_scan/training-info", "The model brings its own training", Severity.LOW,
    "A runtime that trains lets it change the weights. Strip it where nobody trains.",
)  # fmt: skip
_KEYS = frozenset({"location", "offset", "length", "checksum", "basepath"})
_NUMBERS = frozenset({4, 5, 6, 7, 10, 11})
"""Fields in which a tensor holds its numbers and texts, but for raw ones."""
_COUNT = re.compile(r"[0-9]{1,18}")
_OUTSIDE = re.compile(
    r"(?:^|[\\/])\.\.(?:[\\/]|$)|^[\\/~]|^[A-Za-z]:|^[A-Za-z][A-Za-z0-9+.-]*://|\0|\*|\$[({\w]|^$"
)


def claims(part: Part) -> bool:
    """A first field that a model has."""
    head = part.head(1)
    return bool(head) and (head[0] >> 3, head[0] & 7) in schema.MODEL


def read(reading: Reading, part: Part) -> bool:
    """The whole graph, without its numbers; false where the fields are not those of a model."""
    if not _is_model(part):
        if part.suffix != ".onnx" or part.head(1) != b"\x08":
            return False
        reading.report(part, HEADER, "its fields do not end, or there is no graph among them")
        return True
    pickles.read(reading, replace(part, raw=True), named=False)
    try:
        _Walk(reading, part).model()
    except Malformed as error:
        reading.report(part, HEADER, str(error))
    reading.took(part, "onnx")
    return True


def _is_model(part: Part) -> bool:
    """Whether there is a graph among fields that end with the file."""
    numbers, graph = set[int](), False
    try:
        for each in wire.fields(part.data, part.start, part.end, 100_000):
            numbers.add(each.number)
            if each.number == 7 and each.kind == wire.BYTES:
                start, end = each.span
                inner = next(wire.fields(part.data, start, end), None)
                graph = graph or inner is None or (inner.number, inner.kind) in schema.GRAPH
    except (Malformed, Exhausted):
        return False
    return graph and bool(numbers & {1, 8})


@dataclass
class _Walk:
    """One model while it is read.

    Attributes:
        left: fields that may still be read.
        wordy: texts of nodes that are still searched.
        functions: operators that the model itself defines, as (domain, name).
        told: what was reported once already.
    """

    reading: Reading
    part: Part
    left: int = MOST
    wordy: int = 20_000
    functions: set[tuple[str, str]] = field(default_factory=set)
    told: set[tuple[str, str]] = field(default_factory=set)

    def fields(
        self, span: tuple[int, int], known: frozenset[tuple[int, int]]
    ) -> Iterator[wire.Field]:
        """Fields of a message; those that it cannot have are reported."""
        self.left -= 3  # a message costs time, even an empty one
        for each in wire.fields(self.part.data, *span):
            self.left -= 1
            if self.left < 0:
                raise Exhausted(f"a model of more than {MOST:,} fields")
            if (each.number, each.kind) in known:
                yield each
            else:
                self.hidden(each, span[0])

    def walk(
        self,
        span: tuple[int, int],
        known: frozenset[tuple[int, int]],
        then: dict[int, Callable[[tuple[int, int]], object]],
    ) -> None:
        """Give the span of each field to what is done with it."""
        for each in self.fields(span, known):
            if each.number in then:
                then[each.number](each.span)

    def hidden(self, each: wire.Field, start: int) -> None:
        """A field that the format does not have, and what is in it."""
        at, end = each.value if isinstance(each.value, tuple) else (start, start)
        told = self.tell(HIDDEN, "no such field is defined", at, f"field {each.number}")
        if told and end > at:
            self.reading.read(self.part.within(at, end, f"hidden field {each.number}"))

    def tell(self, rule: Rule, reason: str, at: int, subject: str = "") -> bool:
        """Report one thing once; whether this was the first time."""
        mark = rule.id, subject or reason
        if mark in self.told:
            return False
        self.told.add(mark)
        self.reading.report(self.part, rule, reason, at, subject)
        return True

    def text(self, span: tuple[int, int], most: int = 4096) -> str:
        """A text; of a long one the beginning."""
        return wire.text(self.part.data, (span[0], min(span[1], span[0] + most)))

    def words(self, span: tuple[int, int], name: str = "doc_string") -> None:
        """Search a text for code."""
        start, end = span
        text = wire.text(self.part.data, (start, min(end, start + LONGEST)), LONGEST)
        texts.review(self.reading, self.part, SCANNER, name, text, start)
        if "chat_template" in name:
            templates.report(self.reading, self.part, SCANNER, text, start)

    def entry(self, span: tuple[int, int]) -> tuple[str, tuple[int, int]]:
        """Key of a pair of texts, and where the value lies."""
        found = {each.number: each.span for each in self.fields(span, schema.ENTRY)}
        return self.text(found.get(1, (0, 0))), found.get(2, (span[1], span[1]))

    def metadata(self, span: tuple[int, int]) -> None:
        """A pair of texts that programs around the model read."""
        key, place = self.entry(span)
        self.words(place, key)

    def model(self) -> None:
        """Everything; first the names of the functions, as nodes before them may call them."""
        span = (self.part.start, self.part.end)
        version, imports = 0, 0
        for each in wire.fields(self.part.data, *span):
            if each.number == 25 and each.kind == wire.BYTES:
                self.functions.add(self.named(each.span))
            imports += each.number == 8
            version = each.amount if (each.number, each.kind) == (1, wire.VARINT) else version
        if not imports and version > 2:
            raise Malformed("it does not say which operator set it is of")
        self.walk(
            span,
            schema.MODEL,
            {
                6: self.words,
                7: lambda inner: self.graph(inner, DEEPEST),
                14: self.metadata,
                20: self.training,
                25: self.function,
            },
        )

    def training(self, span: tuple[int, int]) -> None:
        """Graphs that only a runtime that trains runs."""
        self.tell(TRAINING, "graphs for training", span[0])
        graph = partial(self.graph, depth=DEEPEST)
        self.walk(span, schema.TRAINING, {1: graph, 2: graph})

    def named(self, span: tuple[int, int]) -> tuple[str, str]:
        """Domain and name of a function."""
        wanted = (e for e in self.fields(span, schema.FUNCTION) if e.number in (1, 10))
        found = {each.number: self.text(each.span) for each in wanted}
        return found.get(10, ""), found.get(1, "")

    def function(self, span: tuple[int, int]) -> None:
        """An operator that the model defines by others."""
        domain, name = self.named(span)
        if name in schema.OPERATORS.get(domain, ()):
            self.tell(SHADOW, "a function of the model has its name", span[0], show(name))
        node = partial(self.node, depth=DEEPEST)
        attribute = partial(self.attribute, depth=DEEPEST)
        self.walk(span, schema.FUNCTION, {7: node, 8: self.words, 11: attribute, 14: self.metadata})

    def graph(self, span: tuple[int, int], depth: int) -> None:
        """Nodes, weights and descriptions."""
        if depth <= 0:
            raise Exhausted("graphs too deep within graphs")
        then: dict[int, Callable[[tuple[int, int]], object]] = {
            1: partial(self.node, depth=depth),
            5: self.tensor,
            10: self.words,
            15: self.sparse,
            16: self.metadata,
        }
        then.update(dict.fromkeys((11, 12, 13), self.described))
        self.walk(span, schema.GRAPH, then)

    def described(self, span: tuple[int, int]) -> None:
        """The description of a value, whose type is left to the runtime."""
        self.walk(span, schema.VALUE, {4: self.metadata})

    def node(self, span: tuple[int, int], depth: int) -> None:
        """An operator, what it is given, and the graphs within it."""
        name = domain = ""
        for each in self.fields(span, schema.NODE):
            if each.number == 4:
                name = self.text(each.span)
            elif each.number == 7:
                domain = self.text(each.span)
            elif each.number == 5:
                self.attribute(each.span, depth)
            elif each.number in (6, 9) and self.wordy > 0:
                self.wordy -= 1
                self.words(each.span, "the words of a node")
        self.operator(domain, name, span[0])

    def operator(self, domain: str, name: str, at: int) -> None:
        """Whether an operator computes, calls Python, or is another library's."""
        subject = show(f"{domain}.{name}" if domain else name)
        if name.lower() in schema.PYTHON:
            self.tell(PYTHON, "an operator that runs a function of Python", at, subject)
        elif (domain, name) in self.functions:
            return
        elif domain in schema.OPERATORS:
            if name not in schema.OPERATORS[domain]:
                self.tell(CUSTOM, "ONNX has no operator of this name", at, subject)
        elif not domain.startswith(schema.RUNTIME) or name in schema.UNREAD:
            self.tell(CUSTOM, "what it does is not in the file", at, subject)

    def attribute(self, span: tuple[int, int], depth: int) -> None:
        """Tensors and graphs that a node is given."""
        graph = partial(self.graph, depth=depth - 1)
        self.walk(
            span,
            schema.ATTRIBUTE,
            {
                5: self.tensor,
                6: graph,
                10: self.tensor,
                11: graph,
                22: self.sparse,
                23: self.sparse,
            },
        )

    def sparse(self, span: tuple[int, int]) -> None:
        """The two tensors of a sparse one."""
        self.walk(span, schema.SPARSE, {1: self.tensor, 2: self.tensor})

    def tensor(self, span: tuple[int, int]) -> None:
        """Type and shape against the bytes that are there or elsewhere."""
        dims: list[int] = []
        numbers, spans = dict[int, int](), dict[int, tuple[int, int]]()
        inline, elsewhere = 0, list[tuple[int, int]]()
        for each in self.fields(span, schema.TENSOR):
            if each.number == 1:
                dims += (wire.signed(n) for n in wire.numbers(self.part.data, each, 1024))
            elif each.number in _NUMBERS:
                start, end = each.value if isinstance(each.value, tuple) else (0, 1)
                inline += max(end - start, 1)
            elif each.number == 13:
                elsewhere.append(each.span)
            elif isinstance(each.value, tuple):
                spans[each.number] = each.value
            else:
                numbers[each.number] = each.value
        if 16 in spans:
            self.metadata(spans[16])
        name, bits = self.text(spans.get(8, (0, 0))), schema.BITS.get(numbers.get(2, 0))
        wrong = len(dims) > 64 or any(n < 0 for n in dims) or prod(dims) >= 2**60 or bits is None
        size = 0 if wrong or bits is None else (prod(dims) * bits + 7) // 8
        # numbers of one to ten bytes, into each of which small types are packed
        least = size if wrong or not bits else (prod(dims) * min(bits, 8) + 7) // 8
        raw = spans[9][1] - spans[9][0] if 9 in spans and bits else None
        if wrong:
            self.tell(LAYOUT, f"{show(name)} has a type or shape that no tensor has", span[0])
        elif elsewhere or numbers.get(14) == 1:
            self.external(elsewhere, size, span[0])
        elif raw != size if raw is not None else inline < (least or prod(dims) * (bits == 0)):
            self.tell(LAYOUT, f"{show(name)} has other bytes than its shape asks for", span[0])

    def external(self, entries: list[tuple[int, int]], size: int, at: int) -> None:
        """Where the numbers of a tensor lie, when they lie in another file."""
        told: dict[str, str] = {}
        for key, place in map(self.entry, entries):
            value = told[key] = self.text(place)
            if key not in _KEYS and not key.startswith("prepacked_"):
                self.tell(KEY, "ONNX defines five keys", place[0], show(key))
            elif key in ("location", "basepath") and _OUTSIDE.search(value):
                self.tell(PATH, f"the key {key}", place[0], show(value))
            elif key in ("offset", "length") and not _COUNT.fullmatch(value):
                self.tell(LAYOUT, f"external data has the {key} {show(value)}", place[0])
        if len(told) != len(entries) or not told.get("location"):
            self.tell(LAYOUT, "external data names no file, or something twice", at)
        length = told.get("length", "")
        if _COUNT.fullmatch(length) and int(length) != size:
            self.tell(LAYOUT, f"external data of {show(length)} bytes for {size:,}", at)
