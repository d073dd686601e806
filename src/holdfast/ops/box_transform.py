"""Variables without bounds for inputs between bounds, and Adam steps row by row."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from holdfast.ops.balls import TINY, rows
from holdfast.ops.rows import take


@dataclass(frozen=True, eq=False)
class TanhBox:
    """x = middle + half * tanh(w): every w is a valid input (Carlini & Wagner 2017, sec. V-B).

    Attributes:
        low: least values, broadcasting over (N, ...).
        high: largest values.
        share: of the way from the middle to a bound that the clean input is taken to lie at most.
            At the bounds themselves w would be infinite and its gradient zero: such features,
            the black and white ones of a picture, could never move.
    """

    low: Tensor
    high: Tensor
    share: float = 0.99

    def open(self, x: Tensor) -> Tensor:
        """The w of an input; nothing depends on that of a feature whose bounds are equal."""
        half = ((self.high - self.low) / 2).clamp(min=TINY)
        return torch.atanh(((x - self.low) / half - 1).clamp(-1, 1) * self.share)

    def close(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """The input of `w`, and dx / dw."""
        half, t = (self.high - self.low) / 2, w.tanh()
        return self.low + half * (t + 1), half * (1 - t.square())


@dataclass(eq=False)
class Adam:
    """Adam (Kingma & Ba 2015) with a step count of its own for every row.

    Attributes:
        mean: running mean of the gradients (N, ...).
        square: running mean of their squares.
        count: (N,) steps taken.
    """

    mean: Tensor
    square: Tensor
    count: Tensor
    _beta = (0.9, 0.999)

    @classmethod
    def of(cls, like: Tensor) -> Self:
        """Fresh state for rows like `like`."""
        return cls(torch.zeros_like(like), torch.zeros_like(like), like.new_zeros(len(like)))

    def take(self, index: Tensor) -> Self:
        """The rows `index`."""
        return type(self)(*take(index, self.mean, self.square, self.count))

    def forget(self, index: Tensor) -> None:
        """Start anew in the rows `index`."""
        for state in (self.mean, self.square, self.count):
            state[index] = 0

    def step(self, grad: Tensor) -> Tensor:
        """What to subtract, for a step size of one."""
        a, b = self._beta
        self.count += 1
        self.mean.mul_(a).add_(grad, alpha=1 - a)
        self.square.mul_(b).addcmul_(grad, grad, value=1 - b)
        # both corrections as one number per row and one in the divisor: no pass over features more
        scale = (1 - b**self.count).sqrt()
        rate = scale / (1 - a**self.count)
        return rows(rate, grad) * self.mean / (self.square.sqrt() + rows(1e-8 * scale, grad))
