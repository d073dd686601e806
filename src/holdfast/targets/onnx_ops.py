"""What each ONNX operator computes, as a function of tensors: one entry for every one we read.

Every function takes the node's attributes and its inputs in order (None where one is left out) and
gives the first output. Definitions: https://onnx.ai/onnx/operators/ (operator sets 7 to 23).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # the name that everyone uses

Attrs = Mapping[str, Any]
"""Attributes of a node by name, with the model's operator set as "opset"."""
Inputs = Sequence[Tensor]
"""Inputs in order. One that is left out is None, which only the operators that allow it look for."""
Operator = Callable[[Attrs, Inputs], Tensor]
LARGEST = 2**28
"""More elements than this are refused in one tensor: a small file can ask for any size."""

OPERATORS: dict[str, Operator] = {
    "Abs": lambda a, x: x[0].abs(),
    "Add": lambda a, x: x[0] + x[1],
    "Div": lambda a, x: _divide(x[0], x[1]),
    "Dropout": lambda a, x: x[0],
    "Elu": lambda a, x: F.elu(x[0], a.get("alpha", 1.0)),
    "Erf": lambda a, x: x[0].erf(),
    "Exp": lambda a, x: x[0].exp(),
    "Flatten": lambda a, x: _flatten(x[0], a.get("axis", 1)),
    "Gather": lambda a, x: _gather(x[0], x[1], a.get("axis", 0)),
    "Gelu": lambda a, x: F.gelu(x[0], approximate=a.get("approximate", "none")),
    "GlobalAveragePool": lambda a, x: x[0].flatten(2).mean(2).view(*x[0].shape[:2], *_ones(x[0])),
    "GlobalMaxPool": lambda a, x: x[0].flatten(2).amax(2).view(*x[0].shape[:2], *_ones(x[0])),
    "HardSigmoid": lambda a, x: (a.get("alpha", 0.2) * x[0] + a.get("beta", 0.5)).clamp(0, 1),
    "HardSwish": lambda a, x: F.hardswish(x[0]),
    "Identity": lambda a, x: x[0],
    "LeakyRelu": lambda a, x: F.leaky_relu(x[0], a.get("alpha", 0.01)),
    "Log": lambda a, x: x[0].log(),
    "MatMul": lambda a, x: x[0] @ x[1],
    "Mul": lambda a, x: x[0] * x[1],
    "Neg": lambda a, x: -x[0],
    "PRelu": lambda a, x: torch.where(x[0] >= 0, x[0], x[0] * x[1]),
    "Pow": lambda a, x: x[0] ** x[1],
    "Reciprocal": lambda a, x: x[0].reciprocal(),
    "Relu": lambda a, x: F.relu(x[0]),
    "Shape": lambda a, x: torch.tensor(x[0].shape[a.get("start", 0) : a.get("end")]),
    "Sigmoid": lambda a, x: x[0].sigmoid(),
    "Softplus": lambda a, x: F.softplus(x[0]),
    "Sqrt": lambda a, x: x[0].sqrt(),
    "Sub": lambda a, x: x[0] - x[1],
    "Tanh": lambda a, x: x[0].tanh(),
    "Transpose": lambda a, x: x[0].permute(a.get("perm") or list(range(x[0].ndim))[::-1]),
}
_TYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 11: torch.float64}


def _operator(name: str) -> Callable[[Operator], Operator]:
    def add(function: Operator) -> Operator:
        OPERATORS[name] = function
        return function

    return add


def bounded(shape: Sequence[int]) -> list[int]:
    """The shape, unless a tensor of it would be absurdly large."""
    if math.prod(max(0, int(n)) for n in shape) > LARGEST:
        raise ValueError(f"a tensor of shape {tuple(shape)} is too large")
    return [int(n) for n in shape]


def axes(a: Attrs, x: Inputs, position: int = 1) -> list[int] | None:
    """Axes given as an attribute (older operator sets) or as an input, None where left out."""
    given = a.get("axes")
    if given is None and len(x) > position and x[position] is not None:
        given = x[position].flatten().tolist()
    return None if given is None else list(given)


def _ones(x: Tensor) -> list[int]:
    return [1] * (x.ndim - 2)


def _divide(x: Tensor, y: Tensor) -> Tensor:
    whole = not x.is_floating_point() and not y.is_floating_point()
    return torch.div(x, y, rounding_mode="trunc" if whole else None)


def _flatten(x: Tensor, axis: int) -> Tensor:
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), -1)


def _gather(x: Tensor, index: Tensor, axis: int) -> Tensor:
    axis = axis + x.ndim if axis < 0 else axis
    index = index.to(x.device)
    index = torch.where(index < 0, index + x.shape[axis], index)
    picked = x.index_select(axis, index.flatten())
    return picked.view([*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]])


@_operator("Sum")
def _sum(a: Attrs, x: Inputs) -> Tensor:
    total = x[0]
    for other in x[1:]:
        total = total + other
    return total


@_operator("Max")
def _max(a: Attrs, x: Inputs) -> Tensor:
    best = x[0]
    for other in x[1:]:
        best = torch.maximum(best, other)
    return best


@_operator("Min")
def _min(a: Attrs, x: Inputs) -> Tensor:
    best = x[0]
    for other in x[1:]:
        best = torch.minimum(best, other)
    return best


@_operator("Gemm")
def _gemm(a: Attrs, x: Inputs) -> Tensor:
    left = x[0].T if a.get("transA") else x[0]
    right = x[1].T if a.get("transB") else x[1]
    out: Tensor = a.get("alpha", 1.0) * (left @ right)
    return out + a.get("beta", 1.0) * x[2] if len(x) > 2 and x[2] is not None else out


@_operator("Clip")
def _clip(a: Attrs, x: Inputs) -> Tensor:
    low, high = clip_bounds(a, x[1:])
    out = x[0] if low is None else torch.maximum(x[0], torch.as_tensor(low).to(x[0]))
    return out if high is None else torch.minimum(out, torch.as_tensor(high).to(out))


def clip_bounds(a: Attrs, given: Inputs) -> tuple[Any, Any]:
    """Lower and upper bound, from attributes (before operator set 11) or inputs."""
    low = given[0] if given and given[0] is not None else a.get("min")
    high = given[1] if len(given) > 1 and given[1] is not None else a.get("max")
    return low, high


@_operator("Selu")
def _selu(a: Attrs, x: Inputs) -> Tensor:
    gamma: float = a.get("gamma", 1.050701)
    return F.elu(x[0], a.get("alpha", 1.6732632)) * gamma


def _soft(function: Callable[..., Tensor], a: Attrs, x: Tensor) -> Tensor:
    """Before operator set 13 the axis splits the tensor in two, and the second part is normalised."""
    if a["opset"] >= 13:
        return function(x, a.get("axis", -1))
    return function(_flatten(x, a.get("axis", 1)), 1).view_as(x)


OPERATORS["Softmax"] = lambda a, x: _soft(torch.softmax, a, x[0])
OPERATORS["LogSoftmax"] = lambda a, x: _soft(torch.log_softmax, a, x[0])


@_operator("BatchNormalization")
def _batch_norm(a: Attrs, x: Inputs) -> Tensor:
    inputs, weight, bias, mean, variance = x
    return F.batch_norm(inputs, mean, variance, weight, bias, False, 0.0, a.get("epsilon", 1e-5))


@_operator("LayerNormalization")
def _layer_norm(a: Attrs, x: Inputs) -> Tensor:
    axis = a.get("axis", -1)
    shape = x[0].shape[axis:]
    bias = x[2] if len(x) > 2 else None
    return F.layer_norm(x[0], shape, x[1], bias, a.get("epsilon", 1e-5))


@_operator("Cast")
def _cast(a: Attrs, x: Inputs) -> Tensor:
    if a["to"] not in _TYPES:
        raise ValueError(f"a cast to type {a['to']} is not read")
    return x[0].to(_TYPES[a["to"]])


@_operator("Concat")
def _concat(a: Attrs, x: Inputs) -> Tensor:
    return torch.cat(list(x), a["axis"])


@_operator("ConstantOfShape")
def _constant_of_shape(a: Attrs, x: Inputs) -> Tensor:
    value: Tensor = a.get("value", torch.zeros(1))
    return value.reshape(()).expand(bounded(x[0].tolist())).clone()


@_operator("Expand")
def _expand(a: Attrs, x: Inputs) -> Tensor:
    shape = torch.broadcast_shapes(x[0].shape, tuple(bounded(x[1].tolist())))
    return x[0].expand(bounded(shape))


@_operator("Reshape")
def _reshape(a: Attrs, x: Inputs) -> Tensor:
    shape = [int(n) for n in x[1].tolist()]
    if not a.get("allowzero"):
        shape = [x[0].shape[i] if n == 0 else n for i, n in enumerate(shape)]
    return x[0].reshape(shape)


@_operator("Squeeze")
def _squeeze(a: Attrs, x: Inputs) -> Tensor:
    given = axes(a, x)
    if given is None:
        return x[0].squeeze()
    return x[0].squeeze(tuple(given))


@_operator("Unsqueeze")
def _unsqueeze(a: Attrs, x: Inputs) -> Tensor:
    given, out = axes(a, x) or [], x[0]
    rank = out.ndim + len(given)
    for axis in sorted(n + rank if n < 0 else n for n in given):
        out = out.unsqueeze(axis)
    return out


@_operator("Slice")
def _slice(a: Attrs, x: Inputs) -> Tensor:
    if a["opset"] < 10:
        starts, ends, where, steps = a["starts"], a["ends"], a.get("axes"), None
    else:
        rest = [each.tolist() if each is not None else None for each in x[1:]] + [None, None]
        starts, ends, where, steps = rest[:4]
    out = x[0]
    where = range(len(starts)) if where is None else where
    for start, end, axis, step in zip(starts, ends, where, steps or [1] * len(starts), strict=True):
        if step > 0:
            out = out[(slice(None),) * (axis % out.ndim) + (slice(start, end, step),)]
        else:
            index = list(range(out.shape[axis]))[
                slice(start, end if end > -(2**31) else None, step)
            ]
            out = out.index_select(axis, torch.tensor(index, dtype=torch.long, device=out.device))
    return out


@_operator("Pad")
def _pad(a: Attrs, x: Inputs) -> Tensor:
    pads, value, where = padding(a, x[1:])
    rank = x[0].ndim
    where = list(range(rank)) if where is None else [n % rank for n in where]
    sides = [(0, 0)] * rank
    for i, axis in enumerate(where):
        sides[axis] = (pads[i], pads[i + len(where)])
    bounded(
        [
            n + max(0, before) + max(0, after)
            for n, (before, after) in zip(x[0].shape, sides, strict=True)
        ]
    )
    flat = [width for pair in reversed(sides) for width in pair]
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}[
        a.get("mode", "constant")
    ]
    if mode == "constant":
        return F.pad(x[0], flat, mode, value)
    while len(flat) > 2 and flat[-2:] == [0, 0]:
        flat = flat[:-2]  # other modes take the last axes alone
    return F.pad(x[0], flat, mode)


def padding(a: Attrs, given: Inputs) -> tuple[list[int], float, list[int] | None]:
    """Widths before and after every axis, the value, and the axes, None for all."""
    pads = a.get("pads") if not given else given[0].tolist()
    value = given[1] if len(given) > 1 and given[1] is not None else a.get("value", 0.0)
    where = given[2].tolist() if len(given) > 2 and given[2] is not None else None
    return [int(n) for n in pads or []], float(value), where


def _reduce(function: Callable[..., Tensor]) -> Operator:
    def reduce(a: Attrs, x: Inputs) -> Tensor:
        where = axes(a, x)
        if not where:
            if a.get("noop_with_empty_axes"):
                return x[0]
            where = list(range(x[0].ndim))
        return function(x[0], where, bool(a.get("keepdims", 1)))

    return reduce


OPERATORS["ReduceMean"] = _reduce(torch.mean)
OPERATORS["ReduceSum"] = _reduce(torch.sum)
OPERATORS["ReduceMax"] = _reduce(torch.amax)


def widths(a: Attrs, size: Sequence[int], kernel: Sequence[int]) -> list[int]:
    """Padding before every spatial axis, then after every one, as `pads` or `auto_pad` say."""
    rank = len(kernel)
    auto = a.get("auto_pad", "NOTSET")
    if auto == "NOTSET":
        return list(a.get("pads") or [0] * (2 * rank))
    if auto == "VALID":
        return [0] * (2 * rank)
    before, after = [], []
    strides, dilations = a.get("strides") or [1] * rank, a.get("dilations") or [1] * rank
    for n, k, s, d in zip(size, kernel, strides, dilations, strict=True):
        total = max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n)
        less, more = total // 2, total - total // 2
        before.append(less if auto == "SAME_UPPER" else more)
        after.append(more if auto == "SAME_UPPER" else less)
    return before + after


def padded(x: Tensor, pads: Sequence[int], value: float = 0.0) -> Tensor:
    """Pads the spatial axes by ONNX's order of widths."""
    rank = len(pads) // 2
    pairs = [w for i in reversed(range(rank)) for w in (pads[i], pads[i + rank])]
    return F.pad(x, pairs, value=value) if any(pads) else x


@_operator("Conv")
def _conv(a: Attrs, x: Inputs) -> Tensor:
    weight, bias = x[1], x[2] if len(x) > 2 else None
    inputs = padded(x[0], widths(a, x[0].shape[2:], weight.shape[2:]))
    convolve = (F.conv1d, F.conv2d, F.conv3d)[weight.ndim - 3]
    rank = weight.ndim - 2
    strides, dilations = a.get("strides") or [1] * rank, a.get("dilations") or [1] * rank
    return convolve(inputs, weight, bias, strides, 0, dilations, a.get("group", 1))


@_operator("ConvTranspose")
def _conv_transpose(a: Attrs, x: Inputs) -> Tensor:
    weight, bias = x[1], x[2] if len(x) > 2 else None
    rank = weight.ndim - 2
    pads = list(a.get("pads") or [0] * (2 * rank))
    if a.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or a.get("output_shape"):
        raise ValueError("a transposed convolution whose padding is left to the runtime")
    if pads[:rank] != pads[rank:]:
        raise ValueError("a transposed convolution with uneven padding")
    convolve = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
    strides, dilations = a.get("strides") or [1] * rank, a.get("dilations") or [1] * rank
    extra = a.get("output_padding") or [0] * rank
    return convolve(x[0], weight, bias, strides, pads[:rank], extra, a.get("group", 1), dilations)


@_operator("MaxPool")
def _max_pool(a: Attrs, x: Inputs) -> Tensor:
    kernel = a["kernel_shape"]
    rank = len(kernel)
    inputs = padded(x[0], widths(a, x[0].shape[2:], kernel), -math.inf)
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[rank - 1]
    strides, dilations = a.get("strides") or [1] * rank, a.get("dilations") or [1] * rank
    return pool(inputs, kernel, strides, 0, dilations, bool(a.get("ceil_mode", 0)))


@_operator("AveragePool")
def _average_pool(a: Attrs, x: Inputs) -> Tensor:
    """Sums over windows, divided by what of each window counts: padding only if it is said to."""
    kernel = a["kernel_shape"]
    rank = len(kernel)
    if set(a.get("dilations") or [1]) != {1}:
        raise ValueError("an average pool with gaps")
    pads = widths(a, x[0].shape[2:], kernel)
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[rank - 1]
    rest = (kernel, a.get("strides") or [1] * rank, 0, bool(a.get("ceil_mode", 0)), False)
    means = pool(padded(x[0], pads), *rest)
    if a.get("count_include_pad") or not any(pads):
        return means
    counts = padded(torch.ones_like(x[0][:1, :1]), pads)
    return means / pool(counts, *rest)
