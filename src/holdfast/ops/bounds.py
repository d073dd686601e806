"""Interval bounds through layers: whatever enters between `low` and `high` leaves between the two.

All functions take and give pairs of tensors (N, ...). Sound up to rounding; use double precision.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

RISING = (
    nn.ReLU, nn.ReLU6, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Hardtanh, nn.Identity, nn.Dropout,
    nn.Dropout1d, nn.Dropout2d, nn.Flatten, nn.Unflatten, nn.ZeroPad2d, nn.MaxPool1d, nn.MaxPool2d,
    nn.AdaptiveMaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool2d,
)  # fmt: skip
"""Layers none of whose outputs falls when an input rises (dropout in evaluation mode)."""
AFTERTHOUGHTS = (nn.Softmax, nn.LogSoftmax, nn.Identity, nn.Dropout)
"""Last layers that leave the order of the scores as it is."""


class UnknownLayer(TypeError):
    """A layer for which there is no bound."""


def layers(module: nn.Module) -> list[nn.Module]:
    """The layers of nested `nn.Sequential` in order, without last ones that keep the order."""
    flat = _flat(module)
    while flat and isinstance(flat[-1], AFTERTHOUGHTS) and _standard(flat[-1]):
        flat.pop()
    return flat


def propagate(parts: Sequence[nn.Module], low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Bounds after all layers, for inputs between `low` and `high`.

    Raises:
        UnknownLayer: there is no bound for a layer; the message is its class.
    """
    for part in parts:
        low, high = step(part, low, high)
    return low, high


def step(layer: nn.Module, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Bounds after one layer (Gowal et al. 2018, sec. 3: affine and monotonic layers)."""
    if not _standard(layer):
        raise UnknownLayer(type(layer).__name__)
    if isinstance(layer, RISING) or _rises(layer):
        return layer(low), layer(high)
    widen = _widening(layer)
    centre, radius = layer((low + high) / 2), widen((high - low) / 2)
    return centre - radius, centre + radius


def margins(parts: Sequence[nn.Module], low: Tensor, high: Tensor, labels: Tensor) -> Tensor:
    """(N,) lower bound of the score of the label minus the largest other score.

    Where the last layer is linear, each difference of scores is one linear function of what enters
    it and bounded as such, which is tighter than the difference of two bounds (elision, sec. 3).
    """
    last = parts[-1] if parts else None
    if isinstance(last, nn.Linear) and _standard(last):
        low, high = propagate(parts[:-1], low, high)
        weight, bias = _two_rows(last)
        centre, radius = (low + high) / 2, (high - low) / 2
        gaps = []
        for k in range(len(weight)):
            difference = weight[labels] - weight[k]
            middle = (difference * centre).sum(1) + bias[labels] - bias[k]
            gaps.append(middle - (difference.abs() * radius).sum(1))
        gap = torch.stack(gaps, 1)
    else:
        low, high = propagate(parts, low, high)
        if low.numel() == len(low):  # one logit z: class 1 wins by z, class 0 by -z
            return torch.where(labels == 1, low.flatten(), -high.flatten())
        gap = low.gather(1, labels[:, None]) - high
    return gap.scatter(1, labels[:, None], torch.inf).amin(1)


def largest(holds: Callable[[Tensor], Tensor], like: Tensor, top: float, steps: int) -> Tensor:
    """Per row, nearly the largest number up to `top` at which `holds`, found by bisection.

    Args:
        holds: (N,) numbers -> (N,) Boolean; true up to some number, false beyond.
        like: (N,) any floats of the wanted type.
        top: not searched beyond.
        steps: halvings; the result is below the true one by at most top / 2^steps.

    Returns:
        (N,) numbers at which `holds`; -1 where it does not even hold at zero.
    """
    low, high = torch.zeros_like(like), torch.full_like(like, top)
    never, always = ~holds(low), holds(high)
    for _ in range(steps):
        middle = (low + high) / 2
        good = holds(middle)
        low, high = torch.where(good, middle, low), torch.where(good, high, middle)
    return torch.where(always, torch.full_like(like, top), low).masked_fill(never, -1)


def _standard(layer: nn.Module) -> bool:
    """Whether PyTorch itself wrote what the layer computes: a subclass may compute anything else."""
    return type(layer).forward.__module__.startswith("torch.nn.modules.")


def _flat(module: nn.Module) -> list[nn.Module]:
    if not isinstance(module, nn.Sequential) or not _standard(module):
        return [module]
    return [layer for part in module for layer in _flat(part)]


def _rises(layer: nn.Module) -> bool:
    if isinstance(layer, nn.LeakyReLU):
        return layer.negative_slope >= 0
    return isinstance(layer, nn.ELU) and layer.alpha >= 0


def _two_rows(last: nn.Linear) -> tuple[Tensor, Tensor]:
    """Weights and bias of a linear layer; one logit z counts as the two scores (0, z)."""
    weight = last.weight
    bias = weight.new_zeros(len(weight)) if last.bias is None else last.bias
    if len(weight) == 1:
        return torch.cat([torch.zeros_like(weight), weight]), torch.cat([bias.new_zeros(1), bias])
    return weight, bias


def _widening(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    """How an affine layer widens a radius: its map with absolute weights and without bias."""
    if isinstance(layer, nn.Linear):
        return lambda r: r @ layer.weight.abs().T
    if isinstance(layer, nn.Conv1d | nn.Conv2d):
        return lambda r: layer._conv_forward(r, layer.weight.abs(), None)
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and layer.running_var is not None:
        slope = (layer.running_var + layer.eps).rsqrt()
        slope = slope if layer.weight is None else slope * layer.weight.abs()
        return lambda r: r * slope.view(-1, *[1] * (r.ndim - 2))
    raise UnknownLayer(type(layer).__name__)
