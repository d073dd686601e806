"""Expectation over transformation (Athalye, Engstrom, Ilyas and Kwok 2018)."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Generator, Tensor

from holdfast.core.goal import Goal
from holdfast.core.kinds import EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget
from holdfast.core.target import Gradients
from holdfast.evasion.attacks.pgd import PGD
from holdfast.evasion.redraw import Expected


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
        expected = Expected.of(target, x, self.samples, rng)
        pgd = PGD(self.steps, self.step_size, self.random_start)
        yield from pgd.run(expected, x, MostDraws(goal), budget, rng)
