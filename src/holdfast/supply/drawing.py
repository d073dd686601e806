"""A model's graph as SVG: operators in layers from the top, the values that flow as lines."""

from collections.abc import Mapping
from html import escape

import networkx as nx
from markupsafe import Markup

from holdfast.supply.pickle_values import show

MOST = 400
"""Operators that are drawn: more cannot be looked at."""
WIDE, HIGH, BESIDE, BELOW = 168, 38, 24, 34
COLOURS = {
    "added": "var(--series-bad)", "removed": "var(--muted)", "changed": "var(--series-2)",
    "input": "var(--series-3)", "output": "var(--series-3)",
}  # fmt: skip


def draw(graph: "nx.DiGraph[str]", marks: Mapping[object, str]) -> Markup | None:
    """The drawing, None where the graph is empty, has a cycle or more nodes than are drawn.

    Args:
        graph: nodes carry `op`.
        marks: "added", "removed" or "changed" for nodes, and for edges as pairs.
    """
    if not 0 < len(graph) <= MOST or not nx.is_directed_acyclic_graph(graph):
        return None
    at = _places(graph)
    width = max(x for x, _ in at.values()) + WIDE + BESIDE
    height = max(y for _, y in at.values()) + HIGH + BELOW
    parts = [_edge(at[a], at[b], marks.get((a, b), "")) for a, b in graph.edges]
    parts += [_node(name, told["op"], at[name], marks) for name, told in graph.nodes(data=True)]
    return Markup(  # noqa: S704  # names are escaped below
        f'<svg role="img" aria-label="graph of {len(graph)} operators" width="{width:.0f}" '
        f'height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" '
        'xmlns="http://www.w3.org/2000/svg" font-size="12" font-family="inherit">'
        + "".join(parts)
        + "</svg>"
    )


def _places(graph: "nx.DiGraph[str]") -> dict[str, tuple[float, float]]:
    """Upper left corners. Within a layer, operators stand below the middle of what feeds them."""
    layers = list(nx.topological_generations(graph))
    widest = max(map(len, layers)) * (WIDE + BESIDE)
    at: dict[str, tuple[float, float]] = {}
    for depth, layer in enumerate(layers):
        wish = {
            name: sum(at[p][0] for p in graph.predecessors(name)) / max(1, graph.in_degree(name))
            for name in layer
        }
        order = sorted(layer, key=lambda name: wish[name])
        left = (widest - len(order) * (WIDE + BESIDE)) / 2 + BESIDE / 2
        for place, name in enumerate(order):
            at[name] = left + place * (WIDE + BESIDE), depth * (HIGH + BELOW) + BELOW / 2
    return at


def _edge(a: tuple[float, float], b: tuple[float, float], mark: str) -> str:
    """A line from the bottom of one to the top of another; one past other layers swings out."""
    x, y, u, v = a[0] + WIDE / 2, a[1] + HIGH, b[0] + WIDE / 2, b[1]
    layers = (v - y) / (HIGH + BELOW)
    swing = 0.0 if layers < 1 else WIDE * 0.75
    bend = (v - y) * 0.4
    style = f'stroke="{COLOURS.get(mark, "var(--muted)")}" stroke-width="{2.5 if mark else 1.2}"'
    dashes = ' stroke-dasharray="5 4"' if mark == "removed" else ""
    return (
        f'<path d="M{x:.1f} {y:.1f} C{x + swing:.1f} {y + bend:.1f} {u + swing:.1f} {v - bend:.1f} '
        f'{u:.1f} {v:.1f}" fill="none" {style}{dashes}/>'
    )


def _node(name: str, op: str, at: tuple[float, float], marks: Mapping[object, str]) -> str:
    mark = marks.get(name) or (op if op in COLOURS else "")
    colour = COLOURS.get(mark, "var(--rule)")
    x, y = at
    dashes = ' stroke-dasharray="5 4"' if mark == "removed" else ""
    called = escape(show(name.strip(), 24))
    return (
        f'<g><title>{escape(show(name, 200))}</title><rect x="{x:.1f}" y="{y:.1f}" width="{WIDE}" '
        f'height="{HIGH}" rx="6" fill="var(--surface)" stroke="{colour}" '
        f'stroke-width="{2.5 if mark else 1}"{dashes}/>'
        f'<text x="{x + WIDE / 2:.1f}" y="{y + 16:.1f}" text-anchor="middle" fill="currentColor" '
        f'font-weight="600">{escape(show(op, 22))}</text>'
        f'<text x="{x + WIDE / 2:.1f}" y="{y + 30:.1f}" text-anchor="middle" fill="var(--muted)" '
        f'font-size="10">{called}</text></g>'
    )
