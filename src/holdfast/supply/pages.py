"""Structures and differences of models as pages."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import networkx as nx
from markupsafe import Markup

from holdfast.report.html import page
from holdfast.supply.difference import SHORT, Difference
from holdfast.supply.drawing import MOST, draw
from holdfast.supply.structures.parts import Structure, statistics

HEADS = ("tensor", "type", "shape", "mean", "std", "least", "largest", "zeros", "NaN")


@dataclass(frozen=True)
class Line:
    """One entry of a list; loud ones are what a reader should see first."""

    text: str
    loud: bool = False


@dataclass(frozen=True)
class Section:
    """A heading with a list, a table or a picture below it."""

    title: str
    lines: Sequence[Line] = ()
    heads: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    picture: Markup | None = None
    caption: str = field(default="")


def structure_page(model: Structure) -> str:
    """What a model is made of."""
    sections = []
    if model.nodes:
        counts = Counter(node.op for node in model.nodes).most_common()
        sections.append(Section("Operators", heads=("operator", "count"),
                                rows=[(op, str(n)) for op, n in counts]))  # fmt: skip
        sections.append(_drawn("Graph", model.graph, {}))
    sections.append(
        Section("Weights", heads=HEADS, rows=[_row(model, name) for name in model.tensors])
    )
    if model.metadata:
        told = [Line(f"{key}: {value[:500] or 'none'}") for key, value in model.metadata.items()]
        sections.append(Section("Metadata", told))
    return page(
        "structure.html.jinja", kind="structure of a model", title=model.file,
        facts=[facts(model)], sections=sections,
    )  # fmt: skip


def facts(model: Structure) -> str:
    """Format and size in a line."""
    graph = f", {len(model.nodes)} operators" if model.nodes else ""
    ends = "; ".join(
        f"{word} {name} ({shape})" for word, values in (("in", model.inputs), ("out", model.outputs))
        for name, shape in values.items()
    )  # fmt: skip
    told = f"{model.format}, {len(model.tensors)} tensors, {model.parameters:,} numbers{graph}"
    return f"{told}. {ends}" if ends else told


def _row(model: Structure, name: str) -> Sequence[str]:
    tensor = model.tensors[name]
    told = statistics(tensor)
    shape = " x ".join(map(str, tensor.shape)) or "scalar"
    if told is None:
        return name, tensor.dtype, shape, "not read", "", "", "", "", ""
    numbers = (f"{v:.3g}" for v in (told.mean, told.std, told.least, told.largest))
    return name, tensor.dtype, shape, *numbers, f"{told.zeros:.0%}", str(told.odd or "")


def difference_page(before: Structure, after: Structure, found: Difference) -> str:
    """What distinguishes two models."""
    names = f"{before.file} and {after.file}"
    if found.same:
        sections = [
            Section("Nothing differs", [Line("Tensors, operators and texts are the same.")])
        ]
    else:
        sections = [each for each in (_weights(found), _graph(found), _texts(found)) if each.lines]
    if before.nodes or after.nodes:
        sections.append(_both(before, after, found))
    told = [f"before: {before.file}: {facts(before)}", f"after: {after.file}: {facts(after)}"]
    return page(
        "structure.html.jinja", kind="difference of two models", title=names, facts=told,
        sections=sections,
    )  # fmt: skip


def _weights(found: Difference) -> Section:
    lines = [Line(f"{each.name}: {each.told}", each.bits == 1) for each in found.tensors]
    lines += [Line(f"{name}: added") for name in found.added]
    lines += [Line(f"{name}: removed") for name in found.removed]
    return Section("Weights", lines)


def _graph(found: Difference) -> Section:
    lines = [Line(f"{n.op} {n.name}: added") for n in found.nodes_added]
    lines += [Line(f"{n.op} {n.name}: removed") for n in found.nodes_removed]
    lines += [Line(f"{a.name}: {a.told} became {b.told}") for a, b in found.nodes_changed]
    for word, edges in (("added", found.edges_added), ("removed", found.edges_removed)):
        for edge in edges:
            far = edge.skips > SHORT
            past = f", past {edge.skips} layers" if far else ""
            lines.append(Line(f"{edge.source} -> {edge.target}: {word}{past}", far))
    return Section("Operators and edges", lines)


def _texts(found: Difference) -> Section:
    return Section("Metadata", [
        Line(f"{key}: {old or 'none'} became {new or 'none'}")
        for key, (old, new) in found.metadata.items()
    ])  # fmt: skip


def _both(before: Structure, after: Structure, found: Difference) -> Section:
    """Both graphs in one, with what is new and what is gone marked."""
    whole = nx.compose(before.graph, after.graph)
    marks: dict[object, str] = {n.name: "added" for n in found.nodes_added}
    marks |= {n.name: "removed" for n in found.nodes_removed}
    marks |= {n.name: "changed" for _, n in found.nodes_changed}
    marks |= {(e.source, e.target): "added" for e in found.edges_added}
    marks |= {(e.source, e.target): "removed" for e in found.edges_removed}
    changed = {each.name for each in found.tensors}
    for model in (before, after):
        for node in model.nodes:
            if changed.intersection(node.inputs):
                marks.setdefault(node.name, "changed")
    return _drawn("Both graphs", whole, marks, "Red: only in the second. Orange: changed, or "
                  "with changed weights. Dashed: only in the first.")  # fmt: skip


def _drawn(
    title: str, graph: "nx.DiGraph[str]", marks: dict[object, str], caption: str = ""
) -> Section:
    picture = draw(graph, marks)
    if picture is None:
        return Section(
            title, caption=f"Not drawn: {len(graph)} operators, where {MOST} can be looked at."
        )
    return Section(title, picture=picture, caption=caption)
