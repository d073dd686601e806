"""Tensors, operators and edges of a model, and what can be said of them."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Tensor:
    """A named array of weights, read when it is asked for.

    Attributes:
        name: as in the file.
        dtype: element type in the file's own words.
        shape: lengths of its axes.
        load: reads it; None where its element type has no counterpart in NumPy.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    load: Callable[[], Array] | None = None

    @property
    def count(self) -> int:
        """How many numbers it has."""
        return prod(self.shape)

    @cached_property
    def values(self) -> Array | None:
        """The numbers."""
        return None if self.load is None else self.load()

    @property
    def digest(self) -> str:
        """SHA-256 of the numbers as bytes, "" where they cannot be read."""
        values = self.values
        if values is None:
            return ""
        return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


@dataclass(frozen=True)
class Node:
    """An operator. `inputs` and `outputs` are names of values; of several graphs, inner ones too."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def told(self) -> str:
        """Its type, and its attributes if it has any."""
        given = ", ".join(f"{key}={value}" for key, value in self.attributes.items())
        return f"{self.op} ({given})" if given else self.op


@dataclass(frozen=True)
class Structure:
    """A model as it lies in a file.

    Attributes:
        file: its name.
        format: what kind of file.
        tensors: weights by name.
        nodes: operators in the file's order, none where the format has only weights.
        inputs: names and shapes of what the graph is given.
        outputs: likewise of what it gives.
        metadata: texts that the file carries.
    """

    file: str
    format: str
    tensors: Mapping[str, Tensor]
    nodes: tuple[Node, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def parameters(self) -> int:
        """Numbers in all tensors together."""
        return sum(tensor.count for tensor in self.tensors.values())

    @cached_property
    def graph(self) -> "nx.DiGraph[str]":
        """Operators and the graph's inputs and outputs, with an edge for each value that flows.

        Edges carry the value's name; nodes carry `op`.
        """
        graph: nx.DiGraph[str] = nx.DiGraph()
        made: dict[str, str] = {}
        for name in self.inputs:
            graph.add_node(name, op="input")
            made[name] = name
        for node in self.nodes:
            graph.add_node(node.name, op=node.op)
            made.update(dict.fromkeys(node.outputs, node.name))
        for node in self.nodes:
            for value in node.inputs:
                if value in made:
                    graph.add_edge(made[value], node.name, value=value)
        for name in self.outputs:
            end = f"{name} " if name in graph else name
            graph.add_node(end, op="output")
            if name in made:
                graph.add_edge(made[name], end, value=name)
        return graph


@dataclass(frozen=True)
class Statistics:
    """Of the numbers of one tensor; floats only for mean to largest."""

    mean: float
    std: float
    least: float
    largest: float
    zeros: float
    odd: int


def statistics(tensor: Tensor) -> Statistics | None:
    """Mean, spread, range, share of zeros, and how many are NaN or infinite; None if unreadable."""
    values = tensor.values
    if values is None or values.dtype.kind not in "biuf" or not values.size:
        return None
    flat = values.astype(np.float64, copy=False).ravel()
    fine = flat[np.isfinite(flat)]
    if not fine.size:
        return Statistics(np.nan, np.nan, np.nan, np.nan, 0.0, flat.size)
    return Statistics(
        float(fine.mean()), float(fine.std()), float(fine.min()), float(fine.max()),
        float((flat == 0).mean()), int(flat.size - fine.size),
    )  # fmt: skip
