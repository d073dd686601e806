"""Expectation over transformation (Athalye, Engstrom, Ilyas and Kwok 2018)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Generator, Tensor

from holdfast.core.goal import Goal
from holdfast.core.kinds import EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget, Normed
from holdfast.core.target import Gradient, Gradients, Redrawn
from holdfast.evasion.attacks.pgd import PGD


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
class MostDraws:
    """A goal over draws: its degree is the mean over them, so it is reached when all reach it."""

    goal: Goal

    @property
    def threshold(self) -> float:
        """As the goal's."""
        return self.goal.threshold

    def loss(self, raw: Tensor) -> Tensor:
        """As the goal's, for the scores of one draw (N, K)."""
        return self.goal.loss(raw)

    def degree(self, out: Tensor) -> Tensor:
        """(N,) mean degree of answers (N, samples)."""
        return torch.stack([self.goal.degree(one) for one in out.unbind(1)], 1).mean(1)

    def take(self, index: Tensor) -> Self:
        """The goal of the rows `index`."""
        return replace(self, goal=self.goal.take(index))

    def to(self, device: torch.device | str) -> Self:
        """The same goal on another device."""
        return replace(self, goal=self.goal.to(device))


@method(cites="athalye2018synthesizing", where="sec. 2.1, eq. 1")
@dataclass(frozen=True)
class EOT(EvasionAttack[Gradients]):
    r"""Expectation over transformation.

    For a target f(t(x)) that draws a change t ~ T at every call,

    x_{j+1} = Pi_{B(x, eps)} ( x_j + alpha * steepest( 1/samples sum_s grad L(f(t_s(x_j)), y) ) )

    An input is given up only once it works under every draw of a step, and the one that works
    under most is kept. All draws go through the model in one pass; a target that draws once for a
    whole batch is asked one pass per draw. On a deterministic target it is PGD at `samples` times
    its price.
    """

    measures = PGD.measures

    steps: int = hyper(40, "as PGD: Madry et al. 2018, sec. 5", low=1)
    step_size: float = hyper(2.5, "in units of eps / steps, as PGD", low=0)
    random_start: bool = hyper(True, "as PGD")
    samples: int = hyper(20, "AutoAttack's version for random defences (Croce & Hein 2020)", low=1)

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        source = target.fresh(rng) if isinstance(target, Redrawn) else target
        probe = source.scores(x[:1].repeat_interleave(self.samples, 0))
        apart = not torch.allclose(probe, probe[:1].expand_as(probe), rtol=1e-4, atol=1e-5)
        pgd = PGD(self.steps, self.step_size, self.random_start)
        expected = Expected(source, self.samples, together=apart or self.samples == 1)
        yield from pgd.run(expected, x, MostDraws(goal), budget, rng)
