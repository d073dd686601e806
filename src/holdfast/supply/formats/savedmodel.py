"""TensorFlow: SavedModels, frozen graphs, meta graphs, Keras's metadata, and the files beside them.

A graph is a program; most operators compute, some read and write files or call Python. Loading a
SavedModel runs its initialisers and its restoring function, so every node counts, in the graph and
in the functions of its library.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from holdfast.core.record import Severity
from holdfast.supply import archives, tf_names
from holdfast.supply.formats import keras, pickles
from holdfast.supply.pickle_values import Buffer, Exhausted, show
from holdfast.supply.reading import Part, Reading
from holdfast.supply.rules import Rule, Verdict
from holdfast.supply.tf_graphs import (
    Node,
    Span,
    Whose,
    bare,
    called,
    entry,
    leads,
    read_function,
    read_nodes,
    setting,
    whose,
)  # fmt: skip
from holdfast.supply.tf_kinds import kind_of, possible
from holdfast.supply.wire import BYTES, fields, text

_REMEDY = "Do not load it. Ask for the weights alone, or for the model as ONNX."
PYTHON = Rule(
    "savedmodel_scan/python-callable", "The graph calls Python: {subject}", Severity.CRITICAL,
    _REMEDY,
)  # fmt: skip
FILES = Rule(
    "savedmodel_scan/file-callable", "The graph reads or writes files: {subject}", Severity.HIGH,
    _REMEDY,
)  # fmt: skip
NETWORK = Rule(
    "savedmodel_scan/network-callable", "The graph reaches the network: {subject}", Severity.HIGH,
    _REMEDY,
)  # fmt: skip
ASSET = Rule(
    "savedmodel_scan/outside-file", "The model takes a file from outside of its folder: {subject}",
    Severity.HIGH, _REMEDY,
)  # fmt: skip
UNKNOWN = Rule(
    "savedmodel_scan/unknown-operator", "The graph has an operator that is not known: {subject}",
    Severity.MEDIUM, "A library defines it: review where that comes from.", Verdict.UNREAD,
)  # fmt: skip
_RULES = {"python": PYTHON, "files": FILES, "network": NETWORK, "custom": UNKNOWN, "saver": FILES}
_REASONS = {
    "python": "it runs a function of the process that loads the model",
    "files": "a path is all that it needs",
    "network": "it sends to or takes from other machines",
    "custom": "it is not one of TensorFlow's that are known to compute only",
    "saver": "it is no part of how the model is saved and restored",
}

_NODES = 250_000
_TOLD = 100


@dataclass
class Graph:
    """What matters of one graph.

    Attributes:
        nodes: those of the graph itself, by name.
        calls: functions that each function calls.
        savers: nodes of functions that save or restore, by function, with who decides on their
            paths.
        given: calls to which the graph gives a path: the node, and the functions it calls.
        roots: names of nodes by which signatures and initialisers end.
        total: nodes, with those of functions.
    """

    nodes: dict[str, Node] = field(default_factory=dict)
    calls: dict[str, set[str]] = field(default_factory=dict)
    savers: dict[str, list[tuple[Node, Whose]]] = field(default_factory=dict)
    given: list[tuple[Node, set[str]]] = field(default_factory=list)
    roots: set[str] = field(default_factory=set)
    total: int = 0

    def note(
        self, reading: Reading, part: Part, node: Node, seen: dict[str, tuple[Node, int]]
    ) -> None:
        """Count a node by its operator; a printer that prints into a file is told at once."""
        self.total += 1
        if self.total > _NODES:
            raise Exhausted(f"a graph of more than {_NODES:,} nodes")
        first, count = seen.get(node.op, (node, 0))
        seen[node.op] = (first, count + 1)
        if node.op == "PrintV2":
            stream = setting(part.data, node, "output_stream") or b""
            if stream.startswith(b"file:"):
                reason = f"it prints into {show(stream.decode('latin-1'))}"
                reading.report(part, FILES, reason, node.at, node.op)

    def call(self, data: Buffer, node: Node, nodes: dict[str, Node]) -> set[str]:
        """Functions that a node calls, noted where the graph gives it a path."""
        found = called(data, node)
        if len(found) > 1:
            held = (nodes.get(bare(each)) for each in node.inputs)
            if any(each is not None and leads(data, each) for each in held):
                self.given.append((node, found))
        return found


def claims(part: Part) -> bool:
    """A key of a protocol buffer's field, or the end of a table of tensors, or the name of one."""
    return possible(part)


def read(reading: Reading, part: Part) -> bool:
    """Whichever of TensorFlow's files it is; false where it is none of them."""
    kind = kind_of(part)
    if kind == "metadata":
        _metadata(reading, part)
    elif kind == "saved":
        for each in fields(part.data, part.start, part.end):
            if each.number == 2:
                _meta(reading, part, each.span)
    elif kind == "meta":
        _meta(reading, part, (part.start, part.end))
    elif kind == "graph":
        _judge(reading, part, _graph(reading, part, (part.start, part.end), Graph()))
    elif kind == "data":
        return reading.dispatch(reading, replace(part, raw=True))
    if kind:
        reading.took(part, _NAMES[kind])
        pickles.read(reading, part, named=False)  # the first bytes can be both
    return bool(kind)


_NAMES = {
    "saved": "SavedModel", "meta": "TensorFlow meta graph", "graph": "TensorFlow graph",
    "metadata": "Keras metadata of a SavedModel", "fingerprint": "SavedModel fingerprint",
    "index": "TensorFlow checkpoint index",
}  # fmt: skip


def _metadata(reading: Reading, part: Part) -> None:
    """JSON of each layer, of which Keras builds it where it can."""
    for each in fields(part.data, part.start, part.end):
        if each.number != 1:
            continue
        for inner in fields(part.data, *each.span):
            if inner.number == 5:
                _configuration(reading, part, inner.span)


def _configuration(reading: Reading, part: Part, span: Span) -> None:
    if span[1] - span[0] > keras.MOST:
        raise Exhausted(f"metadata of {span[1] - span[0]:,} bytes")
    said = bytes(part.data[span[0] : span[1]])
    if said.lstrip()[:1] == b"{":
        keras.parse(reading, part, said, "metadata of a layer", traced=True)


def _meta(reading: Reading, part: Part, span: Span) -> None:
    """A meta graph: graph, signatures, files beside it, and objects."""
    data, graph = part.data, Graph()
    for each in fields(data, *span):
        if each.number == 4:
            graph.roots.update(_main(data, each.span))
        elif each.number == 5:
            graph.roots.update(_ends(data, each.span))
        elif each.number == 6:
            _asset(reading, part, each.span)
        elif each.number == 7:
            _objects(reading, part, each.span)
    for each in fields(data, *span):
        if each.number == 2:
            _graph(reading, part, each.span, graph)
    _judge(reading, part, graph)


def _main(data: Buffer, span: Span) -> Iterator[str]:
    """Operators that loading runs, by the collections of old files."""
    key, value = entry(data, span)
    if value and key in ("saved_model_main_op", "legacy_init_op", "init_op", "table_initializer"):
        for each in fields(data, *value):
            if each.number == 1 and each.kind == BYTES:
                yield from (bare(text(data, f.span)) for f in fields(data, *each.span))


def _ends(data: Buffer, span: Span) -> Iterator[str]:
    """Nodes by which a signature ends."""
    _, value = entry(data, span)
    for output in fields(data, *value) if value else ():
        if output.number == 2 and output.kind == BYTES:
            _, tensor = entry(data, output.span)
            for each in fields(data, *tensor) if tensor else ():
                if each.number == 1 and each.kind == BYTES:
                    yield bare(text(data, each.span))


def _asset(reading: Reading, part: Part, span: Span) -> None:
    """A file of the folder `assets`, which must not lead out of it."""
    for each in fields(part.data, *span):
        if each.number == 2:
            name = text(part.data, each.span)
            if archives.leaves(name):
                reason = "the name of an asset is a path out of the folder"
                reading.report(part, ASSET, reason, each.span[0], show(name, 120))


def _objects(reading: Reading, part: Part, span: Span) -> None:
    """Metadata that Keras kept in the objects themselves until TensorFlow 2.5."""
    for node in fields(part.data, *span):
        for kind in fields(part.data, *node.span) if node.number == 1 else ():
            for each in fields(part.data, *kind.span) if kind.number == 4 else ():
                if each.number == 3 and each.kind == BYTES:
                    _configuration(reading, part, each.span)


def _graph(reading: Reading, part: Part, span: Span, graph: Graph) -> Graph:
    """Nodes of a graph and of the functions of its library; the operators of all are judged."""
    data = part.data
    seen: dict[str, tuple[Node, int]] = {}
    for node in read_nodes(data, span, 1):
        graph.nodes[node.name] = node
        graph.note(reading, part, node, seen)
    for node in graph.nodes.values():
        graph.call(data, node, graph.nodes)
    for library in (f.span for f in fields(data, *span) if f.number == 2):
        for function in (f.span for f in fields(data, *library) if f.number == 1):
            name, arguments, inside = read_function(data, function)
            held = {node.name: node for node in inside}
            graph.calls[name] = set().union(*(graph.call(data, node, held) for node in inside))
            for node in inside:
                graph.note(reading, part, node, seen)
                if tf_names.standing(node.op) == "saver":
                    paths = whose(data, held, arguments, node)
                    graph.savers.setdefault(name, []).append((node, paths))
    unknown = [op for op in seen if tf_names.standing(op) == "custom" and op not in graph.calls]
    reaching = [op for op in seen if tf_names.standing(op) != "custom"]
    for op in (*reaching, *unknown[:_TOLD]):
        node, count = seen[op]
        tell(reading, part, op, count, node.at)
    return graph


def tell(reading: Reading, part: Part, op: str, count: int, at: int) -> None:
    """Report an operator that reaches out of the graph, or that nobody knows."""
    kind = tf_names.standing(op)
    if kind not in ("known", "saver"):
        times = "" if count == 1 else f", {count:,} times"
        reading.report(part, _RULES[kind], f"{_REASONS[kind]}{times}", at, show(op, 80))


def _judge(reading: Reading, part: Part, graph: Graph) -> None:
    """Nodes that save or restore: none where answers are computed, and to paths of the caller only."""
    data, reached, used = part.data, set[str](), set[str]()
    stack = list(graph.roots)
    while stack:
        name = stack.pop()
        if name in reached or name not in graph.nodes:
            continue
        reached.add(name)
        node = graph.nodes[name]
        used |= called(data, node)
        stack += map(bare, node.inputs)
    used = _closed(graph.calls, used)
    for name, node in graph.nodes.items():
        if tf_names.standing(node.op) == "saver":
            paths = whose(data, graph.nodes, set(), node)
            _save(reading, part, node, "graph" if name in reached else paths)
    for name, held in graph.savers.items():
        for node, paths in held:
            _save(reading, part, node, "graph" if name in used else paths)
    for node, functions in graph.given:
        if _closed(graph.calls, functions) & graph.savers.keys():
            _save(reading, part, node, "graph")


def _closed(calls: dict[str, set[str]], names: set[str]) -> set[str]:
    """Functions that are called by way of these, and these."""
    found, pending = set(names), list(names)
    while pending:
        for name in calls.get(pending.pop(), ()):
            if name not in found:
                found.add(name)
                pending.append(name)
    return found


def _save(reading: Reading, part: Part, node: Node, paths: Whose) -> None:
    if paths != "caller":
        rule = FILES if paths == "graph" else UNKNOWN
        reason = _REASONS["saver"] if paths == "graph" else "its path is computed"
        reason = f"{reason}, at node {show(node.name, 80)}"
        reading.report(part, rule, reason, node.at, show(node.op, 80))
