"""Integrated gradients (Sundararajan et al. 2017)."""

import copy
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import Explainer
from holdfast.core.method import hyper, method
from holdfast.core.space import Box
from holdfast.core.target import Weights
from holdfast.ops.losses import two_logits

ROWS = 512
"""Rows that pass through the model at once: steps times inputs, to bound memory."""


@method(cites="sundararajan2017", where="sec. 3, definition; sec. 5, eq. 3")
@dataclass(frozen=True)
class IntegratedGradients(Explainer[Weights]):
    r"""Integrated gradients.

    attribution_i = (x_i - b_i) * \int_0^1 d f_y(b + a (x - b)) / d x_i da

    for the logit f_y of the explained class and a baseline b, here one value everywhere, or the
    nearest valid one: zero lies outside of many a table's columns, where the model knows nothing.
    The integral is a Gauss-Legendre sum over `steps` points. Attributions of an input add up to
    f_y(x) - f_y(b) (completeness), up to the error of that sum.
    """

    steps: int = hyper(64, "sec. 5: 20 to 300 are enough", low=2)
    baseline: float = hyper(0.0, "sec. 3: the black image")

    def attribute(self, target: Weights, x: Tensor, y: Tensor, rng: Generator) -> Tensor:
        from captum.attr import IntegratedGradients as Captum  # heavy, and only needed here

        if not isinstance(target.space, Box):
            raise NotApplicable("needs a baseline, which only real-valued inputs have")
        module = copy.deepcopy(target.module).eval().requires_grad_(False)
        if not len(x):
            return torch.zeros_like(x)
        integrated: Tensor = Captum(lambda inputs: two_logits(module(inputs))).attribute(
            x,
            baselines=target.space.clamp(torch.full_like(x, self.baseline)),
            target=y,
            n_steps=self.steps,
            internal_batch_size=max(ROWS, len(x)),
        )
        return integrated.detach()
