"""A random model seen through the mean of several draws."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from holdfast.core.target import Gradient, Gradients


@dataclass(frozen=True, eq=False)
class Redrawn:
    """A target whose gradients are means over `draws` passes of the same input, in one batch.

    Scores and answers are those of single draws, as whoever judges the attack sees them.
    """

    target: Gradients
    draws: int

    @property
    def space(self) -> Any:
        """Valid inputs are those of the target."""
        return self.target.space

    def scores(self, x: Tensor) -> Tensor:
        """Scores of one draw."""
        return self.target.scores(x)

    def decode(self, raw: Tensor) -> Tensor:
        """As the target decodes."""
        return self.target.decode(raw)

    def answer(self, x: Tensor) -> Tensor:
        """Answers of one draw."""
        return self.target.answer(x)

    def gradient(self, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Gradient:
        """Mean gradient of the loss over the draws, and the mean scores."""
        n = len(x)

        def each(raw: Tensor) -> Tensor:
            draws = raw.view(n, self.draws, *raw.shape[1:])
            return torch.stack([loss(draws[:, d]) for d in range(self.draws)], 1).flatten()

        found = self.target.gradient(x.repeat_interleave(self.draws, 0), each)
        mean = found.wrt_input.view(n, self.draws, *x.shape[1:]).mean(1)
        return Gradient(mean, found.raw.view(n, self.draws, *found.raw.shape[1:]).mean(1))
