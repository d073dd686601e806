"""Interval bound propagation (Gowal et al. 2018)."""

import copy
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import Certifier
from holdfast.core.method import hyper, method
from holdfast.core.space import Box
from holdfast.core.target import Weights
from holdfast.ops.balls import rows
from holdfast.ops.bounds import UnknownLayer, largest, layers, margins

SLACK = 1e-5
"""Margins below this share of the largest score do not count: the model computes in single precision."""


@method(cites="gowal2018", where="sec. 3, interval bounds and elision of the last layer")
@dataclass(frozen=True)
class IBP(Certifier[Weights]):
    """Interval bound propagation.

    centre_{k+1} = W centre_k + b, radius_{k+1} = |W| radius_k; rising activations on both ends.

    A row is certified at eps when the lower bound of every z_y - z_j is positive for all inputs of
    the box within eps. The largest such eps is found by bisection, all rows at once. Proves much
    for models that were trained with it, little for others; what it proves always holds.
    """

    measure = "linf"

    top: float = hyper(1.0, "ours: the whole range of a pixel or column", low=0)
    steps: int = hyper(20, "ours: a resolution of a millionth of the range", low=1)

    def radius(self, target: Weights, x: Tensor, y: Tensor, rng: Generator) -> Tensor:
        space = target.space
        if not isinstance(space, Box):
            raise NotApplicable("interval bounds are for images and tables")
        parts = layers(copy.deepcopy(target.module).eval().requires_grad_(False).double())
        wide = x.double()
        scale = torch.as_tensor(space.scale, dtype=wide.dtype, device=wide.device)
        scores = target.scores(x)
        slack = SLACK * scores.abs().amax(1).clamp(min=1)

        def certified(eps: Tensor) -> Tensor:
            reach = rows(eps, wide) * scale
            low, high = space.clamp(wide - reach), space.clamp(wide + reach)
            return margins(parts, low, high, y) > slack

        try:
            radius = largest(certified, wide.new_zeros(len(x)), self.top, self.steps)
        except UnknownLayer as layer:
            raise NotApplicable(f"interval bounds do not cover the layer {layer}") from layer
        return radius.float().masked_fill(target.decode(scores) != y, -1)
