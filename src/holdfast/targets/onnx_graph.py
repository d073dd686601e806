"""From an ONNX graph to a PyTorch module: constants folded, shapes settled, chains made sequential.

What a graph computes of shapes (`x.view(len(x), -1)` becomes five nodes) is settled by running it
on batches of two sizes: a reshape that keeps the rows and gives both the same shape is one that
does not depend on the batch, and the nodes that computed its target are no longer needed.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.core.errors import InputError
from holdfast.targets.onnx_layers import Node, Operator, layers
from holdfast.targets.onnx_ops import LARGEST, OPERATORS

BATCHES = (2, 3)
RESHAPES = ("Reshape", "Squeeze", "Unsqueeze", "Flatten")


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in an order in which they can run.

    Attributes:
        nodes: operators.
        constants: parameters from initialisers, tensors from nodes and from whole numbers.
        input: name of the one input.
        output: name of the one output.
        shape: of one row of the input.
        batch: number of rows the graph was made for, None for any.
    """

    nodes: tuple[Node, ...]
    constants: dict[str, Tensor]
    input: str
    output: str
    shape: tuple[int, ...]
    batch: int | None = None


class OnnxGraph(nn.Module):
    """A graph that is not a chain: its layers, and which values each of them takes."""

    def __init__(self, graph: Graph, made: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(made)
        self.input, self.output = graph.input, graph.output
        self.wiring = [(_passed(node, graph.constants), node.output) for node in graph.nodes]
        last = {name: i for i, (names, _) in enumerate(self.wiring) for name in names}
        self.over = [
            [name for name, final in last.items() if final == i and name != self.output]
            for i in range(len(self.wiring))
        ]

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) -> what the graph gives, with values dropped after their last use."""
        values = {self.input: x}
        for layer, (names, output), over in zip(self.layers, self.wiring, self.over, strict=True):
            values[output] = layer(*(values[name] for name in names))
            for name in over:
                del values[name]
        return values[self.output]


@dataclass(frozen=True, eq=False)
class Imported:
    """A module whose scores a classifier can use, and what turns them into the graph's own output.

    Attributes:
        module: gives scores whose softmax is the probabilities.
        own: from the module's output to the output of the file.
    """

    module: nn.Module
    own: Callable[[Tensor], Tensor] = field(default=lambda scores: scores)


def convert(graph: Graph) -> Imported:
    """The graph as a module: `nn.Sequential` where it is a chain.

    Raises:
        InputError: a node cannot be computed.
    """
    graph = _keep_rows(graph)
    _measure(graph)
    graph = _fold(graph)
    probes = [run(graph, batch) for batch in BATCHES]
    graph, own = _scores(graph, probes[0][graph.output])
    graph = _living(_join_bias(_settle(graph, probes)))
    made = [_layers(node, graph.constants, probes[0]) for node in graph.nodes]
    if not _is_chain(graph):
        wrapped = [part[0] if len(part) == 1 else nn.Sequential(*part) for part in made]
        return Imported(OnnxGraph(graph, wrapped), own)
    return Imported(nn.Sequential(*(layer for part in made for layer in part)), own)


def run(graph: Graph, batch: int) -> dict[str, Tensor]:
    """Every value of the graph for `batch` rows of random numbers."""
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(batch, *graph.shape, generator=rng)
    values: dict[str, Any] = {**graph.constants, graph.input: x}
    with torch.no_grad():
        for node in graph.nodes:
            values[node.output] = _compute(node, values)
    return {name: value.detach() for name, value in values.items()}


def _measure(graph: Graph) -> None:
    """Find the sizes of all values without computing any: a small file can ask for any size."""
    values: dict[str, Any] = {name: _shadow(value) for name, value in graph.constants.items()}
    values[graph.input] = torch.empty(max(BATCHES), *graph.shape, device="meta")
    for node in graph.nodes:
        value = _compute(node, values)
        if value.numel() > LARGEST:
            raise InputError(
                f"the ONNX operator {node.op} gives a tensor of absurd size",
                got=tuple(value.shape),
                fix="use a model of ordinary size",
            )
        values[node.output] = _shadow(value)


def _shadow(value: Tensor) -> Tensor:
    """Shape and type alone, but for settings and the few whole numbers of which shapes are made."""
    small = value.ndim == 0 or (not value.is_floating_point() and value.numel() <= 4096)
    return value.detach() if small else value.detach().to("meta")


def _compute(node: Node, values: dict[str, Any]) -> Tensor:
    given: list[Any] = [values[name] if name else None for name in node.inputs]
    try:
        return OPERATORS[node.op](node.attrs, given)
    except (RuntimeError, ValueError, IndexError, TypeError, KeyError, AttributeError) as error:
        shapes = ", ".join(str(tuple(each.shape)) for each in given if each is not None)
        raise InputError(
            f"the ONNX operator {node.op} cannot be computed",
            got=f"{str(error).splitlines()[0][:200]} (inputs of shape {shapes})",
            fix="export the model again with fixed shapes and a free batch axis",
        ) from error


def _passed(node: Node, constants: dict[str, Tensor]) -> tuple[str, ...]:
    """Inputs that are not constant, in order."""
    return tuple(name for name in node.inputs if name and name not in constants)


def _keep_rows(graph: Graph) -> Graph:
    """Let reshapes that were made for one number of rows keep any number of them."""
    constants = dict(graph.constants)
    for node in graph.nodes:
        target = constants.get(node.inputs[1]) if node.op == "Reshape" else None
        if target is not None and graph.batch is not None and len(target) > 1:
            rows = torch.zeros_like(target[:1]) if target[0] == graph.batch else target[:1]
            constants[node.inputs[1]] = torch.cat([rows, target[1:]])
    return replace(graph, constants=constants)


def _fold(graph: Graph) -> Graph:
    """Compute what depends on constants alone."""
    constants, nodes = dict(graph.constants), []
    for node in graph.nodes:
        given = [name for name in node.inputs if name]
        if all(name in constants for name in given):
            learnt = any(isinstance(constants[name], nn.Parameter) for name in given)
            value = _compute(node, dict(constants)).detach()
            constants[node.output] = nn.Parameter(value) if learnt else value
        else:
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes), constants=constants)


def _scores(graph: Graph, out: Tensor) -> tuple[Graph, Callable[[Tensor], Tensor]]:
    """Probabilities at the end become scores: softmax becomes log-softmax, one sigmoid its logit."""
    last = next((node for node in graph.nodes if node.output == graph.output), None)
    while last is not None and last.op in ("Identity", "Dropout"):
        name = last.inputs[0]
        last = next((node for node in graph.nodes if node.output == name), None)
    if last is not None and last.op == "Softmax":
        node = replace(last, op="LogSoftmax")
        nodes = tuple(node if each is last else each for each in graph.nodes)
        return replace(graph, nodes=nodes), torch.exp
    if (
        last is not None
        and last.op == "Sigmoid"
        and (out.ndim == 1 or tuple(out.shape[1:]) == (1,))
    ):
        return replace(graph, output=last.inputs[0]), torch.sigmoid
    return graph, lambda scores: scores


def _settle(graph: Graph, probes: list[dict[str, Tensor]]) -> Graph:
    """Drop what changes nothing, and give every reshape of rows its fixed shape."""
    same: dict[str, str] = {}
    nodes = []
    for each in graph.nodes:
        node = replace(each, inputs=tuple(same.get(name, name) for name in each.inputs))
        source = node.inputs[0] if node.inputs else ""
        if node.op in ("Identity", "Dropout"):
            same[node.output] = source
            continue
        shape = _rows(node, probes)
        if shape is None:
            nodes.append(node)
        elif tuple(probes[0][source].shape[1:]) == shape:
            same[node.output] = source
        else:
            nodes.append(Node("View", (source,), node.output, {"shape": shape}))
    return replace(graph, nodes=tuple(nodes), output=same.get(graph.output, graph.output))


def _rows(node: Node, probes: list[dict[str, Tensor]]) -> tuple[int, ...] | None:
    """Shape of a row after a reshape that keeps the rows, None for any other node."""
    if node.op not in RESHAPES:
        return None
    found = set()
    for batch, values in zip(BATCHES, probes, strict=True):
        before, after = values[node.inputs[0]], values[node.output]
        if not before.is_floating_point() or before.ndim == 0 or after.ndim < 2:
            return None
        if len(before) != batch or len(after) != batch:
            return None
        found.add(tuple(after.shape[1:]))
    return found.pop() if len(found) == 1 else None


def _join_bias(graph: Graph) -> Graph:
    """A product with constant weights, and the constant added to it, as one linear layer."""
    uses = Counter(name for node in graph.nodes for name in node.inputs)
    uses[graph.output] += 1
    products = {node.output: node for node in graph.nodes if node.op == "MatMul"}
    gone, nodes = set(), []
    for node in graph.nodes:
        joined = None
        if node.op == "Add":
            for name, other in (node.inputs, node.inputs[::-1]):
                product, bias = products.get(name), graph.constants.get(other)
                if product and bias is not None and uses[name] == 1:
                    joined = _joined(product, other, bias, node.output, graph.constants)
                    gone |= {name} if joined else set()
        nodes.append(joined or node)
    return replace(graph, nodes=tuple(node for node in nodes if node.output not in gone))


def _joined(
    product: Node, name: str, bias: Tensor, output: str, constants: dict[str, Tensor]
) -> Node | None:
    weight = constants.get(product.inputs[1])
    if weight is None or weight.ndim != 2 or product.inputs[0] in constants:
        return None
    if bias.numel() != weight.shape[1] or any(n != 1 for n in bias.shape[:-1]):
        return None
    return Node("Gemm", (product.inputs[0], product.inputs[1], name), output, product.attrs)


def _living(graph: Graph) -> Graph:
    """Only the nodes that the output needs."""
    needed, nodes = {graph.output}, []
    for node in reversed(graph.nodes):
        if node.output in needed:
            needed.update(node.inputs)
            nodes.append(node)
    return replace(graph, nodes=tuple(reversed(nodes)))


def _layers(
    node: Node, constants: dict[str, Tensor], values: dict[str, Tensor]
) -> Sequence[nn.Module]:
    shape = tuple(values[node.inputs[0]].shape) if node.inputs else ()
    return layers(node, constants, shape) or [Operator(node, constants)]


def _is_chain(graph: Graph) -> bool:
    """Whether every node takes exactly what the one before it gives."""
    name = graph.input
    for node in graph.nodes:
        if _passed(node, graph.constants) != (name,):
            return False
        name = node.output
    return name == graph.output
