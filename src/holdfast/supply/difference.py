"""What distinguishes two models: weights to the bit, operators, edges, metadata."""

from collections.abc import Mapping
from dataclasses import dataclass

import networkx as nx
import numpy as np

from holdfast.supply.structures.parts import Array, Node, Structure, Tensor

SHORT = 2
"""An edge that skips more layers than this is worth a word: shortcuts of known nets skip one block."""


@dataclass(frozen=True)
class Changed:
    """One tensor that differs.

    Attributes:
        name: of the tensor.
        what: "type", "shape" or "values".
        before: type and shape before.
        after: type and shape after.
        count: numbers that differ, and of how many.
        total: numbers in the tensor.
        bits: bits that differ.
        largest: largest absolute change; NaN where a number became NaN or infinite.
        relative: |after - before| / |before| in L2.
        rows: entries along the first axis in which anything differs, and of how many.
        of_rows: entries along the first axis.
        first: place of the first number that differs.
    """

    name: str
    what: str
    before: str
    after: str
    count: int = 0
    total: int = 0
    bits: int = 0
    largest: float = 0.0
    relative: float = 0.0
    rows: tuple[int, ...] = ()
    of_rows: int = 0
    first: tuple[int, ...] = ()

    @property
    def told(self) -> str:
        """What changed and by how much, in a sentence."""
        if self.what != "values":
            return f"{self.what} {self.before} became {self.after}"
        if self.bits == 1:
            return (
                f"one bit of one number, at {list(self.first)}, which changed by {self.largest:.3g}"
            )
        if 0 < len(self.rows) <= max(1, self.of_rows // 4) and self.of_rows > 1:
            where = ", ".join(map(str, self.rows[:6])) + (", ..." if len(self.rows) > 6 else "")
            rows = (
                f"{len(self.rows)} of {self.of_rows} rows ({where}), the others to the bit the same"
            )
        else:
            rows = f"{self.count:,} of {self.total:,} numbers"
        return f"{rows}; by {100 * self.relative:.3g} % of the norm, at most {self.largest:.3g}"


@dataclass(frozen=True)
class Edge:
    """A value that flows between two operators in one of the models only.

    Attributes:
        source: operator or input it comes from.
        target: operator that takes it.
        skips: layers that it passes over, counted along the longest path.
    """

    source: str
    target: str
    skips: int


@dataclass(frozen=True)
class Difference:
    """All that differs between two models."""

    tensors: tuple[Changed, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    nodes_added: tuple[Node, ...]
    nodes_removed: tuple[Node, ...]
    nodes_changed: tuple[tuple[Node, Node], ...]
    edges_added: tuple[Edge, ...]
    edges_removed: tuple[Edge, ...]
    metadata: Mapping[str, tuple[str, str]]

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not any(getattr(self, name) for name in self.__dataclass_fields__)


def difference(before: Structure, after: Structure) -> Difference:
    """Compare two models. Tensors and operators are matched by name.

    Operators that were renamed only, with the same type, inputs and outputs, count as the same.
    """
    both = [name for name in before.tensors if name in after.tensors]
    pairs = ((before.tensors[name], after.tensors[name]) for name in both)
    changed = [each for pair in pairs if (each := compare(*pair)) is not None]
    mine, theirs = ({node.name: node for node in s.nodes} for s in (before, after))
    alike = {_content(node): node.name for node in before.nodes}
    renamed = {
        node.name: alike[_content(node)] for node in after.nodes
        if node.name not in mine and alike.get(_content(node)) not in theirs
        and _content(node) in alike
    }  # fmt: skip
    kept = set(renamed.values())
    edges = _edges(before, {}), _edges(after, renamed)
    told = {**dict.fromkeys(before.metadata), **dict.fromkeys(after.metadata)}
    return Difference(
        tuple(changed),
        tuple(name for name in after.tensors if name not in before.tensors),
        tuple(name for name in before.tensors if name not in after.tensors),
        tuple(n for n in after.nodes if n.name not in mine and n.name not in renamed),
        tuple(n for n in before.nodes if n.name not in theirs and n.name not in kept),
        tuple((mine[n], theirs[n]) for n in mine if n in theirs
              and _settings(mine[n]) != _settings(theirs[n])),
        tuple(edges[1][pair] for pair in sorted(edges[1].keys() - edges[0].keys())),
        tuple(edges[0][pair] for pair in sorted(edges[0].keys() - edges[1].keys())),
        {
            key: (before.metadata.get(key, ""), after.metadata.get(key, "")) for key in told
            if before.metadata.get(key) != after.metadata.get(key)
        },
    )  # fmt: skip


def _content(node: Node) -> tuple[object, ...]:
    return (*_settings(node), node.inputs, node.outputs)


def _settings(node: Node) -> tuple[object, ...]:
    return node.op, tuple(sorted(node.attributes.items()))


def _edges(model: Structure, renamed: Mapping[str, str]) -> dict[tuple[str, str], Edge]:
    graph = model.graph
    depth: dict[str, int] = {}
    if nx.is_directed_acyclic_graph(graph):
        for node in nx.topological_sort(graph):
            depth[node] = max((depth[p] + 1 for p in graph.predecessors(node)), default=0)
    found = {}
    for a, b in graph.edges:
        pair = renamed.get(a, a), renamed.get(b, b)
        found[pair] = Edge(*pair, max(0, depth.get(b, 0) - depth.get(a, 0) - 1))
    return found


def compare(before: Tensor, after: Tensor) -> Changed | None:
    """How two tensors differ, None where they are the same to the bit or cannot be read."""
    old, new = (f"{t.dtype} {list(t.shape)}" for t in (before, after))
    if before.shape != after.shape:
        return Changed(before.name, "shape", old, new)
    if before.dtype != after.dtype:
        return Changed(before.name, "type", old, new)
    a, b = before.values, after.values
    if a is None or b is None:
        return None
    raw = tuple(np.ascontiguousarray(v).view(np.uint8).reshape(v.size, -1) for v in (a, b))
    flipped = raw[0] ^ raw[1]
    where = np.flatnonzero(flipped.any(1))
    if not where.size:
        return None
    index = np.unravel_index(int(where[0]), a.shape) if a.ndim else ()
    rows = np.unique(where // max(1, a.size // a.shape[0])) if a.ndim > 1 else where
    largest, relative = _size(a, b)
    return Changed(
        before.name, "values", old, new, int(where.size), a.size,
        int(np.unpackbits(flipped[where]).sum()), largest, relative,
        tuple(map(int, rows[:1000])), a.shape[0] if a.ndim else 1, tuple(map(int, index)),
    )  # fmt: skip


def _size(a: Array, b: Array) -> tuple[float, float]:
    """Largest and relative change."""
    if a.dtype.kind not in "biuf":
        return float("nan"), float("nan")
    x, y = (v.astype(np.float64, copy=False) for v in (a, b))
    with np.errstate(all="ignore"):
        gap = np.abs(y - x)
        scale = float(np.linalg.norm(x))
        return float(gap.max()), float(np.linalg.norm(gap)) / scale if scale else float("inf")
