"""Model inversion, MI-Face (Fredrikson et al. 2015)."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor

from holdfast.core.kinds import ReconstructionAttack
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget
from holdfast.core.target import Gradients
from holdfast.ops.losses import cross_entropy
from holdfast.ops.rows import put, take


@method(cites="fredrikson2015", where="alg. 1")
@dataclass(frozen=True)
class ModelInversion(ReconstructionAttack[Gradients]):
    r"""Model inversion (MI-Face).

    x_0 = 0,  x_i = Process( x_{i-1} - step_size * grad c(x_{i-1}) ),  c(x) = 1 - p_y(x)

    until c(x_i) is no smaller than all of the last `window` costs, or is at most `enough`; the
    result is the x_i with the smallest cost, not the last. Process keeps x valid.
    """

    iterations: int = hyper(5000, "sec. 5, alpha", low=1)
    step_size: float = hyper(0.1, "sec. 5, lambda", low=0)
    window: int = hyper(100, "sec. 5, beta", low=1)
    enough: float = hyper(0.01, "sec. 5, gamma = 0.99 as a probability", low=0, high=1)

    def reconstruct(
        self, target: Gradients, labels: Tensor, like: Tensor, rng: Generator
    ) -> Iterator[Tensor]:
        space, anything = target.space, Budget("linf", torch.inf)
        x = best = space.project(torch.zeros_like(like), torch.zeros_like(like), anything)
        least = torch.full((len(x),), torch.inf)
        recent = torch.full((len(x), self.window), torch.inf)
        rows = torch.arange(len(x))
        for i in range(self.iterations + 1):
            found = target.gradient(x, partial(_cost, labels=labels[rows]))
            cost = _cost(found.raw, labels[rows])
            better = (cost < least[rows]).nonzero().flatten()
            best = put(best, rows[better], x[better])
            least[rows[better]] = cost[better]
            going = ((cost < recent.amax(1)) & (cost > self.enough)).nonzero().flatten()
            recent[:, i % self.window] = cost
            grad = found.wrt_input
            rows, x, grad, recent = take(going, rows, x, grad, recent)
            if i % self.window == 0 or not len(rows):
                yield best
            if not len(rows):
                return
            x = space.project(x - self.step_size * grad, x, anything)
        yield best


def _cost(scores: Tensor, labels: Tensor) -> Tensor:
    """1 - p_y of every row."""
    return 1 - (-cross_entropy(scores, labels)).exp()
