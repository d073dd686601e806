"""ONNX classifiers as PyTorch modules, so that white-box methods work on them."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from holdfast.core.errors import InputError
from holdfast.targets.onnx_graph import Graph, Imported, convert
from holdfast.targets.onnx_layers import Node
from holdfast.targets.onnx_ops import LARGEST, OPERATORS

TOLERANCE = 1e-5
"""Largest difference from ONNX Runtime, relative to the largest output."""
ROWS = 4
FILE_LIMIT = 2**31
NODE_LIMIT = 50_000
WINDOW = ("kernel_shape", "pads", "strides", "dilations", "output_padding")
BROKEN = (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError, OverflowError)
AGAIN = "export the model again, for instance with holdfast's export_onnx"


def open_onnx(path: Path) -> nn.Module:
    """Import a classifier with one float32 input (N, ...) and one output.

    Weights become parameters of `nn.Linear`, `nn.Conv2d` and the like; a graph that is a chain
    becomes `nn.Sequential`. The module gives scores whose softmax is the probabilities: a softmax
    at the end is replaced by a log-softmax, and a sigmoid of a single column by its logit, from
    which `TorchClassifier` makes two classes. The import is compared with ONNX Runtime on random
    inputs before it is returned.

    Raises:
        InputError: the file is damaged, too large or not a classifier, uses operators that are
            not read (all are named), refers to data outside of its folder, or is computed
            differently by ONNX Runtime.
    """
    model = _load(Path(path))
    try:
        graph = _graph(model, Path(path).name)
        imported = convert(graph)
    except BROKEN as error:  # what passes onnx's checker can still contradict itself
        raise _unreadable(Path(path).name, error) from error
    _compare(model, graph, imported, Path(path).name)
    return imported.module.eval()


def _load(path: Path) -> Any:
    """The checked model with its external data; Any, as onnx has no types."""
    import onnx

    if not path.is_file():
        raise InputError("an ONNX model", got=str(path), fix="give the path of a .onnx file")
    if path.stat().st_size > FILE_LIMIT:
        raise InputError(
            f"{path.name} is too large", got=f"{path.stat().st_size:,} bytes", fix="split it"
        )
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # the parser raises errors of several libraries
        raise _unreadable(path.name, error) from error
    _check_operators(model, path.name)
    _load_external(model, path)
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # likewise
        raise _unreadable(path.name, error) from error
    return model


def _unreadable(name: str, error: Exception) -> InputError:
    told = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return InputError(f"{name} is not a valid ONNX model", got=told, fix=AGAIN)


def _check_operators(model: Any, name: str) -> None:
    """Refuse, by name and all at once, whatever is not read."""
    unknown = set()
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            unknown.add(f"{node.domain}:{node.op_type}")
        elif node.op_type not in OPERATORS and node.op_type != "Constant":
            unknown.add(node.op_type)
    unknown.update(f"function {each.name}" for each in model.functions)
    if unknown:
        raise InputError(
            f"{name} uses operators that are not read",
            got=", ".join(sorted(map(str, unknown))),
            fix="use it as a black box behind an endpoint, or export the model without them",
        )
    if len(model.graph.node) > NODE_LIMIT or not model.graph.node:
        raise InputError(f"{name} has too many or no nodes", got=len(model.graph.node), fix=AGAIN)


def _tensors(model: Any) -> Iterator[Any]:
    yield from model.graph.initializer
    for node in model.graph.node:
        yield from (a.t for a in node.attribute if a.HasField("t"))
    if model.graph.sparse_initializer:
        raise InputError("weights must be dense", got="sparse ones", fix=AGAIN)


def _load_external(model: Any, path: Path) -> None:
    """Read data beside the model, which must lie in its folder and be as long as it says."""
    import onnx

    folder = path.resolve().parent
    for tensor in _tensors(model):
        count = math.prod(tensor.dims)
        if any(n < 0 for n in tensor.dims) or count > LARGEST:
            raise InputError(
                f"{path.name} has a weight of absurd size", got=tuple(tensor.dims), fix=AGAIN
            )
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        told = {entry.key: entry.value for entry in tensor.external_data}
        place = folder / told.get("location", "")
        real = place.resolve()
        outside = not told.get("location") or not real.is_relative_to(folder)
        if outside or place.is_symlink() or not real.is_file():
            raise InputError(
                f"{path.name} refers to data outside of its folder or to none",
                got=repr(told.get("location", ""))[:200],
                fix="keep the model and its data in one folder, without links",
            )
        _read_external(tensor, real, told, path.name)


def _read_external(tensor: Any, place: Path, told: dict[str, str], name: str) -> None:
    try:
        offset, length = int(told.get("offset", 0)), int(told.get("length", -1))
    except ValueError as error:
        raise InputError(f"{name} has unreadable external data", got=told, fix=AGAIN) from error
    size = place.stat().st_size
    length = size - offset if length < 0 else length
    if offset < 0 or offset + length > size or length > FILE_LIMIT:
        raise InputError(
            f"{name} refers to more data than {place.name} has", got=f"{length:,} bytes", fix=AGAIN
        )
    with place.open("rb") as file:
        file.seek(offset)
        tensor.raw_data = file.read(length)
    tensor.ClearField("external_data")
    tensor.data_location = 0  # TensorProto.DEFAULT


def _graph(model: Any, name: str) -> Graph:
    """Nodes and weights of a checked model."""
    opset = max(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    weights = {each.name: each for each in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in weights]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        raise InputError(
            f"{name} must have one input and one output",
            got=f"{len(inputs)} and {len(model.graph.output)}",
            fix="export the classifier alone",
        )
    batch, shape = _shape(inputs[0], name)
    constants: dict[str, Tensor] = {}
    for key, tensor in weights.items():
        value = _tensor(tensor)
        learnt = value.is_floating_point() and value.ndim > 0
        constants[key] = nn.Parameter(value) if learnt else value
    nodes = []
    for node in model.graph.node:
        attrs = {a.name: _attribute(a, name) for a in node.attribute}
        if node.op_type == "Constant":
            constants[node.output[0]] = _constant(attrs)
            continue
        if any(
            n > 2**16 or n < 0
            for key in WINDOW
            for n in attrs.get(key, ())
            if node.op_type != "Pad"
        ):
            raise InputError(f"{name}: {node.op_type} has an absurd window", got=attrs, fix=AGAIN)
        output = node.output[0] if node.output else ""
        nodes.append(Node(node.op_type, tuple(node.input), output, {**attrs, "opset": opset}))
    _only_first_outputs(model, name)
    return Graph(tuple(nodes), constants, inputs[0].name, model.graph.output[0].name, shape, batch)


def _only_first_outputs(model: Any, name: str) -> None:
    used = {each for node in model.graph.node for each in node.input} - {""}
    used |= {each.name for each in model.graph.output}
    for node in model.graph.node:
        extra = used.intersection(node.output[1:])
        if extra:
            raise InputError(
                f"{name}: only the first output of {node.op_type} is read", got=extra, fix=AGAIN
            )


def _shape(value: Any, name: str) -> tuple[int | None, tuple[int, ...]]:
    """Number of rows, None for any, and the shape of one row of the input."""
    kind = value.type.tensor_type
    if kind.elem_type != 1:  # TensorProto.FLOAT
        raise InputError(
            f"{name} must take 32-bit floats", got=f"element type {kind.elem_type}", fix=AGAIN
        )
    dims = [d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim]
    row = tuple(n for n in dims[1:] if n)
    if len(dims) < 2 or len(row) != len(dims) - 1 or math.prod(row) > 2**24:
        raise InputError(
            f"{name} must take rows of one shape",
            got=["?" if n is None else n for n in dims],
            fix="export with all axes fixed but the first",
        )
    return dims[0] or None, row


def _tensor(tensor: Any) -> Tensor:
    from onnx import numpy_helper

    array = np.array(numpy_helper.to_array(tensor))  # a copy that can be written to
    return torch.from_numpy(array.astype(np.float32) if array.dtype == np.float16 else array)


def _attribute(attribute: Any, name: str) -> Any:
    """A number, a list of numbers, a string or a tensor."""
    from onnx import helper

    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if hasattr(value, "dims"):
        return _tensor(value)
    if hasattr(value, "node"):
        raise InputError(f"{name} has graphs within its graph", got=attribute.name, fix=AGAIN)
    return list(value) if not isinstance(value, int | float) else value


def _constant(attrs: dict[str, Any]) -> Tensor:
    """The value of a Constant node, which has exactly one attribute."""
    value = next(iter(attrs.values()), None)
    if not isinstance(value, int | float | list | Tensor):
        raise InputError("an ONNX constant must be numbers", got=type(value).__name__, fix=AGAIN)
    return value if isinstance(value, Tensor) else torch.tensor(value)


def _compare(model: Any, graph: Graph, imported: Imported, name: str) -> None:
    """With ONNX Runtime, on rows between 0 and 1 and on normal ones, as padding may hide by sign."""
    rng = torch.Generator().manual_seed(1)
    x = torch.rand(ROWS, *graph.shape, generator=rng)
    x[ROWS // 2 :] = torch.randn(ROWS - ROWS // 2, *graph.shape, generator=rng)
    theirs = reference(model.SerializeToString(), x, graph.batch)
    module = imported.module.eval()
    with torch.no_grad():
        ours = imported.own(module(x))
    agree(ours, theirs, name)


def agree(ours: Tensor, theirs: Tensor, name: str) -> None:
    """Raise an InputError unless both are the same to a relative 1e-5 and finite in the same places."""
    ours, finite = ours.detach(), theirs.isfinite()
    same = (
        ours.shape == theirs.shape and torch.equal(ours.isfinite(), finite) and bool(finite.any())
    )
    scale = float(theirs[finite].abs().max()) if same else 1.0
    gap = float((ours - theirs)[finite].abs().max()) if same else math.inf
    if not gap <= TOLERANCE * max(scale, 1e-3):
        raise InputError(
            f"{name} is computed differently by ONNX Runtime",
            got=f"a difference of {gap:.2g} at a scale of {scale:.2g}",
            fix=AGAIN,
        )


def reference(content: bytes, x: Tensor, batch: int | None) -> Tensor:
    """What ONNX Runtime computes, `batch` rows at a time (None: all at once)."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    size = batch or len(x)
    rows = torch.cat([x] * -(-size // len(x)))[: max(size, len(x) // size * size)]
    try:
        session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        key = session.get_inputs()[0].name
        parts = [session.run(None, {key: part.numpy()})[0] for part in rows.split(size)]
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise InputError(
            "ONNX Runtime cannot run the model", got=str(error).splitlines()[0][:200], fix=AGAIN
        ) from error
    out = torch.cat([torch.from_numpy(np.array(part)) for part in parts])
    return out[: len(x)] if len(rows) > len(x) else out
