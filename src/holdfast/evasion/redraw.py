"""A random model seen through several draws: all of their scores, or the mean."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Generator, Tensor

from holdfast.core.space import Normed
from holdfast.core.target import Gradient, Gradients, Redrawn


@dataclass(frozen=True, eq=False)
class Expected:
    """A random target as the mean of `samples` draws: gradients (N, ...), scores (N, samples, K).

    Attributes:
        target: draws anew in every pass, for every row or for a whole batch.
        samples: draws per input.
        together: whether repeats of an input in one batch are drawn apart, so that one pass does.
    """

    target: Gradients
    samples: int
    together: bool = True

    @classmethod
    def of(cls, target: Gradients, x: Tensor, samples: int, rng: Generator) -> Self:
        """The target with draws of its own in every pass, if it would else repeat them.

        One more pass of the first input tells whether its repeats are drawn apart.
        """
        source = target.fresh(rng) if isinstance(target, Redrawn) else target
        probe = source.scores(x[:1].repeat_interleave(samples, 0))
        apart = not torch.allclose(probe, probe[:1].expand_as(probe), rtol=1e-4, atol=1e-5)
        return cls(source, samples, together=apart or samples == 1)

    @property
    def space(self) -> Normed:
        """Valid inputs are those of the target."""
        return self.target.space

    def scores(self, x: Tensor) -> Tensor:
        """(N, samples, K), one draw each."""
        if self.together:
            raw = self.target.scores(x.repeat_interleave(self.samples, 0))
            return raw.view(len(x), self.samples, *raw.shape[1:])
        return torch.stack([self.target.scores(x) for _ in range(self.samples)], 1)

    def decode(self, raw: Tensor) -> Tensor:
        """(N, samples) answers."""
        out = self.target.decode(raw.flatten(0, 1))
        return out.view(*raw.shape[:2], *out.shape[1:])

    def answer(self, x: Tensor) -> Tensor:
        """(N, samples) answers."""
        return self.decode(self.scores(x))

    def gradient(self, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Gradient:
        """Mean of the draws' gradients, and every draw's scores."""
        if not self.together:
            each = [self.target.gradient(x, loss) for _ in range(self.samples)]
            mean = torch.stack([one.wrt_input for one in each]).mean(0)
            return Gradient(mean, torch.stack([one.raw for one in each], 1))
        shape = (len(x), self.samples)

        def of_draws(raw: Tensor) -> Tensor:
            # the goal knows N rows, so it is asked once for every draw of all of them
            return torch.stack(
                [loss(one) for one in raw.unflatten(0, shape).unbind(1)], 1
            ).flatten()

        got = self.target.gradient(x.repeat_interleave(self.samples, 0), of_draws)
        return Gradient(got.wrt_input.unflatten(0, shape).mean(1), got.raw.unflatten(0, shape))


@dataclass(frozen=True, eq=False)
class MeanGradient:
    """A target whose gradients, and the scores that come with them, are means over draws.

    Scores and answers are those of single draws, as whoever judges the attack sees them.

    Attributes:
        target: as whoever judges the attack asks it.
        draws: the same target, several draws at once.
    """

    target: Gradients
    draws: Expected

    @property
    def space(self) -> Normed:
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
        found = self.draws.gradient(x, loss)
        return Gradient(found.wrt_input, found.raw.mean(1))
