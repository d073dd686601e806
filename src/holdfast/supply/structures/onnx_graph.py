"""Operators and weights of an ONNX model; data in other files is not followed."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.supply.structures.parts import Array, Node, Structure, Tensor

DEPTH = 8
LONG = 80


def open_(path: Path) -> Structure | None:
    """The main graph with those within it, None where the file is no ONNX model."""
    from google.protobuf.message import DecodeError
    from onnx import ModelProto

    if path.stat().st_size > 2**31:  # the limit of protocol buffers
        return None
    model = ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError:
        return None
    if not model.graph.node and not model.graph.initializer:
        return None
    tensors: dict[str, Tensor] = {}
    nodes: list[Node] = []
    _graph(model.graph, "", nodes, tensors, DEPTH)
    given = {v.name: _shape(v) for v in model.graph.input if v.name not in tensors}
    metadata = {each.key: each.value for each in model.metadata_props}
    metadata["producer"] = f"{model.producer_name} {model.producer_version}".strip()
    metadata["opsets"] = ", ".join(
        f"{o.domain or 'ai.onnx'} {o.version}" for o in model.opset_import
    )
    outputs = {v.name: _shape(v) for v in model.graph.output}
    return Structure(path.name, "ONNX", tensors, tuple(nodes), given, outputs, metadata)


def _graph(
    graph: Any, within: str, nodes: list[Node], tensors: dict[str, Tensor], depth: int
) -> None:
    for weight in graph.initializer:
        tensors[within + weight.name] = _tensor(within + weight.name, weight)
    for place, each in enumerate(graph.node):
        name = within + (each.name or f"{each.op_type}_{place}")
        op = f"{each.domain}.{each.op_type}" if each.domain else each.op_type
        told = {a.name: _told(a) for a in each.attribute}
        nodes.append(Node(name, op, tuple(each.input), tuple(each.output), told))
        if each.op_type == "Constant":
            for attribute in each.attribute:
                if attribute.HasField("t"):
                    tensors[name] = _tensor(name, attribute.t)
        for attribute in each.attribute if depth else ():
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else ())):
                _graph(inner, f"{name}/{attribute.name}/", nodes, tensors, depth - 1)


def _tensor(name: str, weight: Any) -> Tensor:
    from onnx import TensorProto

    elsewhere = weight.data_location == TensorProto.EXTERNAL
    kind = TensorProto.DataType.Name(weight.data_type).lower()
    readable = not elsewhere and weight.data_type not in (TensorProto.UNDEFINED, TensorProto.STRING)
    return Tensor(name, kind, tuple(weight.dims), partial(_load, weight) if readable else None)


def _load(weight: Any) -> Array:
    from onnx.numpy_helper import to_array

    values: Array = to_array(weight)
    if values.dtype.kind == "V" or values.dtype.name.startswith(("bfloat", "float8", "float4")):
        return values.astype(np.float32)
    return values


def _shape(value: Any) -> str:
    dims = value.type.tensor_type.shape.dim
    return " x ".join(d.dim_param or str(d.dim_value) for d in dims) or "scalar"


def _told(attribute: Any) -> str:
    from onnx.helper import get_attribute_value

    value = get_attribute_value(attribute)
    if attribute.HasField("t") or attribute.HasField("g"):
        return "..."
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return str(value)[:LONG]
