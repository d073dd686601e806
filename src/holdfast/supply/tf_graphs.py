"""Graphs of TensorFlow: nodes, functions, what they call, and where their paths come from."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from sys import intern
from typing import Literal

from holdfast.supply.pickle_values import Buffer
from holdfast.supply.wire import BYTES, fields, text

Span = tuple[int, int]
_CALLS = re.compile(
    r"\w*(Call|If|While|Case|For|Dataset\w*|Function|Gradient|Defun|Iterator)(V\d)?"
)
_ARGUMENTS = ("Placeholder", "PlaceholderWithDefault", "PlaceholderV2", "_Arg")
_NAMING = {
    "Const", "ConcatV2", "ExpandDims", "Fill", "Identity", "Pack", "RegexFullMatch", "Reshape",
    "Select", "SelectV2", "ShardedFilename", "StaticRegexFullMatch", "StringJoin",
}  # fmt: skip
"""Operators of which the name of a checkpoint is put together."""
_PATHS = {"MergeV2Checkpoints": 2}
"""How many of an operator's inputs are paths, where it is more than the first."""
_PATH = re.compile(rb"(^|[^\w])/|\.\.|://|^~|\\\\")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
Whose = Literal["caller", "graph", "unclear"]


@dataclass(slots=True)
class Node:
    """One node of a graph, and its place in the file."""

    at: int
    end: int
    name: str = ""
    op: str = ""
    inputs: list[str] = field(default_factory=list)

    def settings(self, data: Buffer) -> Iterator[tuple[str, Span]]:
        """Its settings: what each is called, and where its value is."""
        for each in fields(data, self.at, self.end):
            if each.number == 5:
                name, value = entry(data, each.span)
                if value:
                    yield name, value


def entry(data: Buffer, span: Span) -> tuple[str, Span | None]:
    """Key and place of the value of an entry of a map."""
    key, value = "", None
    for each in fields(data, *span):
        if each.number == 1 and each.kind == BYTES:
            key = text(data, each.span)
        elif each.number == 2 and each.kind == BYTES:
            value = each.span
    return key, value


def read_nodes(data: Buffer, span: Span, number: int) -> Iterator[Node]:
    """Nodes of a graph (field 1) or of a function (field 3)."""
    for each in fields(data, *span):
        if each.number != number:
            continue
        node = Node(*each.span)
        for inner in fields(data, *each.span):
            if inner.number == 1:
                node.name = text(data, inner.span)
            elif inner.number == 2:
                node.op = intern(text(data, inner.span))
            elif inner.number == 3:
                node.inputs.append(text(data, inner.span))
        yield node


def read_function(data: Buffer, span: Span) -> tuple[str, set[str], list[Node]]:
    """Name, names of the arguments, and nodes of a function."""
    name, arguments = "", set[str]()
    for each in fields(data, *span):
        for inner in fields(data, *each.span) if each.number == 1 else ():
            if inner.number == 1:
                name = text(data, inner.span)
            elif inner.number == 2:
                arguments |= {
                    text(data, f.span) for f in fields(data, *inner.span) if f.number == 1
                }
    return name, arguments, list(read_nodes(data, span, 3))


def called(data: Buffer, node: Node) -> set[str]:
    """Functions that a node calls: by its settings, or by its operator, which can be one's name."""
    found = {node.op}
    if _CALLS.fullmatch(node.op):
        for _, value in node.settings(data):
            for each in fields(data, *value):
                if each.number == 10:
                    found |= {text(data, f.span) for f in fields(data, *each.span) if f.number == 1}
                elif each.number == 1 and each.kind == BYTES:  # a list, perhaps of functions
                    for item in fields(data, *each.span):
                        if item.number == 9 and item.kind == BYTES:
                            inner = fields(data, *item.span)
                            found |= {text(data, f.span) for f in inner if f.number == 1}
    return found


def setting(data: Buffer, node: Node, name: str) -> bytes | None:
    """A setting that is a text."""
    for key, value in node.settings(data):
        if key == name:
            for each in fields(data, *value):
                if each.number == 2 and each.kind == BYTES:
                    return bytes(data[slice(*each.span)])
    return None


def bare(name: str) -> str:
    """The node of a tensor's name."""
    return name.removeprefix("^").split(":")[0]


def whose(data: Buffer, nodes: dict[str, Node], arguments: set[str], node: Node) -> Whose:
    """Who decides on the paths of a node: its inputs are followed back to where they begin."""
    told: Whose = "caller"
    for path in node.inputs[: _PATHS.get(node.op, 1)]:
        stack, seen, given = [bare(path)], set[str](), False
        while stack:
            name = stack.pop()
            held = nodes.get(name)
            if name in seen:
                continue
            seen.add(name)
            if name in arguments:
                given = True
            elif held is None:
                told = "unclear"
            elif leads(data, held):
                return "graph"
            else:
                given = given or held.op in _ARGUMENTS
                told = told if held.op in _NAMING or held.op in _ARGUMENTS else "unclear"
                of = held.inputs[:1] if "Regex" in held.op else held.inputs
                stack += [bare(each) for each in of if not each.startswith("^")]
        if not given:
            return "graph"
    return told


def leads(data: Buffer, node: Node) -> bool:
    """Whether a constant is a path by itself, rather than an ending of one or a serialised object."""
    if node.op != "Const":
        return False
    for key, value in node.settings(data):
        if key == "value":
            for each in fields(data, *value):
                tensor = fields(data, *each.span) if each.number == 8 else iter(())
                for inner in islice(tensor, 100):  # the beginning of a long list of words will do
                    said = bytes(data[slice(*inner.span)]) if inner.kind == BYTES else b""
                    if inner.number in (4, 8) and _PATH.search(said[:4096]):
                        return not _CONTROL.search(said[:4096])
    return False
