"""ONNX nodes as PyTorch layers: real `nn.Linear` and `nn.Conv2d` wherever the weights are constant.

Tools that walk over modules (repair, interval bounds, hooks on the last linear layer) then see an
imported model as they see one that was written in PyTorch. What has no layer becomes an `Operator`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from holdfast.targets.onnx_ops import OPERATORS, Attrs, clip_bounds, padding, widths

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Node:
    """One operator: names of its inputs ("" where one is left out) and of its first output."""

    op: str
    inputs: tuple[str, ...]
    output: str
    attrs: Attrs


class Operator(nn.Module):
    """An operator without a layer of its own; constant inputs are its parameters and buffers.

    Attributes:
        op: name in ONNX.
        attrs: attributes of the node.
        slots: for every input the name of a constant, or None for one that is passed.
    """

    def __init__(self, node: Node, constants: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.op, self.attrs = node.op, dict(node.attrs)
        self.slots: list[str | None] = []
        for i, name in enumerate(node.inputs):
            slot = f"input_{i}" if name in constants or not name else None
            self.slots.append(slot)
            if slot is None:
                continue
            constant = constants.get(name)
            if isinstance(constant, nn.Parameter):
                self.register_parameter(slot, constant)
            else:
                self.register_buffer(slot, constant)

    def forward(self, *passed: Tensor) -> Tensor:
        """The operator of the passed inputs and the constants, in the node's order."""
        rest = iter(passed)
        given = [next(rest) if slot is None else getattr(self, slot) for slot in self.slots]
        return OPERATORS[self.op](self.attrs, given)

    def extra_repr(self) -> str:
        """The operator's name."""
        return self.op


class View(nn.Module):
    """Every row in another shape."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) -> (N, *shape)."""
        return x.reshape(len(x), *self.shape)

    def extra_repr(self) -> str:
        """The shape of a row."""
        return str(self.shape)


Layers = Sequence[nn.Module] | None
Maker = Callable[[Attrs, Sequence[Any], Shape], Layers]
"""From attributes, constant inputs after the first, and the first input's shape, to layers."""


def layers(node: Node, constants: Mapping[str, Tensor], shape: Shape) -> Layers:
    """Layers of one input that compute the node, None where there are none of PyTorch's own."""
    if node.op not in _MAKERS or not node.inputs or node.inputs[0] in constants:
        return None
    rest = [constants.get(name) if name else None for name in node.inputs[1:]]
    if any(name and name not in constants for name in node.inputs[1:]):
        return None
    return _MAKERS[node.op](node.attrs, rest, shape)


def parameter(value: Tensor) -> nn.Parameter:
    """The value as a parameter; the same object where it is one already, so that ties stay ties."""
    return value if isinstance(value, nn.Parameter) else nn.Parameter(value)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """`weight` is (out, in)."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    layer.weight = parameter(weight)
    if bias is not None:
        layer.bias = parameter(bias)
    return layer


def _gemm(a: Attrs, rest: Sequence[Any], shape: Shape) -> Layers:
    weight, bias = rest[0], rest[1] if len(rest) > 1 else None
    if a.get("transA") or weight.ndim != 2 or not weight.is_floating_point():
        return None
    alpha, beta = a.get("alpha", 1.0), a.get("beta", 1.0)
    weight = weight if a.get("transB") else weight.T.contiguous()
    weight = weight if alpha == 1 else (alpha * weight).detach()
    if bias is not None:
        if bias.numel() not in (1, len(weight)) or (bias.ndim > 1 and bias.shape[0] != 1):
            return None
        if bias.shape != (len(weight),) or beta != 1:
            bias = (beta * bias.flatten().expand(len(weight))).detach().clone()
    return [_linear(weight, bias)]


def _matmul(a: Attrs, rest: Sequence[Any], shape: Shape) -> Layers:
    if rest[0].ndim != 2 or not rest[0].is_floating_point():
        return None
    return [_linear(rest[0].T.contiguous(), None)]


def _square(pads: Sequence[int]) -> bool:
    return list(pads[: len(pads) // 2]) == list(pads[len(pads) // 2 :])


def _conv(a: Attrs, rest: Sequence[Any], shape: Shape) -> Layers:
    weight, bias = rest[0], rest[1] if len(rest) > 1 else None
    rank, groups = weight.ndim - 2, a.get("group", 1)
    if rank not in (1, 2, 3):
        return None
    pads = widths(a, shape[2:], weight.shape[2:])
    even = _square(pads)
    if not even and rank != 2:
        return None
    kind: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]  # their sizes differ in type
    layer = kind(
        weight.shape[1] * groups, weight.shape[0], tuple(weight.shape[2:]),
        stride=tuple(a.get("strides") or [1] * rank),
        padding=tuple(pads[:rank]) if even else 0,
        dilation=tuple(a.get("dilations") or [1] * rank),
        groups=groups, bias=bias is not None, device="meta",
    )  # fmt: skip
    layer.weight = parameter(weight)
    if bias is not None:
        layer.bias = parameter(bias)
    return [layer] if even else [nn.ZeroPad2d((pads[1], pads[3], pads[0], pads[2])), layer]


def _batch_norm(a: Attrs, rest: Sequence[Any], shape: Shape) -> Layers:
    kinds = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
    if len(shape) not in kinds:
        return None
    layer = kinds[len(shape)](len(rest[0]), eps=a.get("epsilon", 1e-5))
    layer.weight, layer.bias = parameter(rest[0]), parameter(rest[1])
    layer.running_mean, layer.running_var = rest[2].detach().clone(), rest[3].detach().clone()
    return [layer]


def _pool(a: Attrs, shape: Shape) -> dict[str, Any] | None:
    """What both kinds of pool share, None where PyTorch's layers cannot pad like that."""
    kernel = a["kernel_shape"]
    pads = widths(a, shape[2:], kernel)
    if not _square(pads) or any(2 * p > k for p, k in zip(pads, kernel, strict=False)):
        return None
    strides = tuple(a.get("strides") or [1] * len(kernel))
    return {
        "kernel_size": tuple(kernel), "stride": strides, "padding": tuple(pads[: len(kernel)]),
        "ceil_mode": bool(a.get("ceil_mode", 0)),
    }  # fmt: skip


def _max_pool(a: Attrs, rest: Sequence[Any], shape: Shape) -> Layers:
    told = _pool(a, shape)
    if told is None or len(shape) not in (3, 4, 5):
        return None
    kind = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[len(shape) - 3]
    return [kind(**told, dilation=tuple(a.get("dilations") or [1] * (len(shape) - 2)))]


def _average_pool(a: Attrs, rest: Sequence[Any], shape: Shape) -> Layers:
    told = _pool(a, shape)
    if told is None or len(shape) not in (3, 4, 5) or set(a.get("dilations") or [1]) != {1}:
        return None
    kind = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)[len(shape) - 3]
    return [kind(**told, count_include_pad=bool(a.get("count_include_pad", 0)))]


def _global(kinds: Sequence[Callable[[int], nn.Module]]) -> Maker:
    def make(a: Attrs, rest: Sequence[Any], shape: Shape) -> Layers:
        return [kinds[len(shape) - 3](1)] if len(shape) in (3, 4, 5) else None

    return make


_average_all = _global((nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d))


def _reduce_mean(a: Attrs, rest: Sequence[Any], shape: Shape) -> Layers:
    """A mean over all positions of an image is a global pool."""
    given = a.get("axes") if not rest or rest[0] is None else rest[0].tolist()
    spatial = list(range(2, len(shape)))
    if not given or sorted(n % len(shape) for n in given) != spatial:
        return None
    pool = _average_all(a, (), shape)
    return pool if pool is None or a.get("keepdims", 1) else [*pool, nn.Flatten()]


def _clip(a: Attrs, rest: Sequence[Any], shape: Shape) -> Layers:
    low, high = (None if v is None else float(v) for v in clip_bounds(a, rest))
    if low == 0 and high in (None, 6.0, float("inf")):
        return [nn.ReLU6() if high == 6 else nn.ReLU()]
    if low is None or high is None or not low < high:
        return None
    return [nn.Hardtanh(low, high)]


def _pad(a: Attrs, rest: Sequence[Any], shape: Shape) -> Layers:
    if a.get("mode", "constant") != "constant" or len(shape) != 4:
        return None
    pads, value, where = padding(a, rest)
    if where is not None or value != 0 or min(pads) < 0 or any(pads[:2]) or any(pads[4:6]):
        return None
    return [nn.ZeroPad2d((pads[3], pads[7], pads[2], pads[6]))]


def _soft(kind: Callable[[int], nn.Module]) -> Maker:
    def make(a: Attrs, rest: Sequence[Any], shape: Shape) -> Layers:
        axis = a.get("axis", -1 if a["opset"] >= 13 else 1) % len(shape)
        split = a["opset"] < 13 and axis != len(shape) - 1
        return None if split else [kind(axis)]

    return make


def _view(a: Attrs, rest: Sequence[Any], shape: Shape) -> Layers:
    """Rows in another shape: flat, unflat or any."""
    wanted: Shape = a["shape"]
    if len(wanted) == 1 and len(shape) > 2:
        return [nn.Flatten()]
    return [nn.Unflatten(1, wanted) if len(shape) == 2 else View(wanted)]


def _simple(make: Callable[[Attrs], nn.Module | None]) -> Maker:
    def maker(a: Attrs, rest: Sequence[Any], shape: Shape) -> Layers:
        layer = make(a)
        return None if layer is None else [layer]

    return maker


def _close(a: Attrs, name: str, value: float, default: float) -> bool:
    return bool(abs(a.get(name, default) - value) < 1e-6)


_MAKERS: dict[str, Maker] = {
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Conv": _conv,
    "Elu": _simple(lambda a: nn.ELU(a.get("alpha", 1.0))),
    "Flatten": _simple(lambda a: nn.Flatten() if a.get("axis", 1) == 1 else None),
    "Gelu": _simple(lambda a: nn.GELU(a.get("approximate", "none"))),
    "Gemm": _gemm,
    "GlobalAveragePool": _average_all,
    "GlobalMaxPool": _global((nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d)),
    "HardSigmoid": _simple(
        lambda a: (
            nn.Hardsigmoid()
            if _close(a, "alpha", 1 / 6, 0.2) and _close(a, "beta", 0.5, 0.5)
            else None
        )
    ),
    "HardSwish": _simple(lambda a: nn.Hardswish()),
    "LeakyRelu": _simple(lambda a: nn.LeakyReLU(a.get("alpha", 0.01))),
    "LogSoftmax": _soft(nn.LogSoftmax),
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "Pad": _pad,
    "ReduceMean": _reduce_mean,
    "Relu": _simple(lambda a: nn.ReLU()),
    "Selu": _simple(lambda a: None if "alpha" in a or "gamma" in a else nn.SELU()),
    "Sigmoid": _simple(lambda a: nn.Sigmoid()),
    "Softmax": _soft(nn.Softmax),
    "Softplus": _simple(lambda a: nn.Softplus()),
    "Tanh": _simple(lambda a: nn.Tanh()),
    "View": _view,
}
