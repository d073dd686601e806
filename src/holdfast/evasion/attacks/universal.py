"""Universal adversarial perturbation (Moosavi-Dezfooli et al. 2017; Shafahi et al. 2020)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
from torch import Generator, Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.goal import AwayFrom
from holdfast.core.kinds import Delta, UniversalAttack
from holdfast.core.method import hyper, method
from holdfast.core.space import of_box
from holdfast.core.target import Gradients
from holdfast.evasion.printing import Crowd
from holdfast.ops import balls


@dataclass(frozen=True, eq=False)
class Added:
    """The same numbers (...), in units of the space, added to every input."""

    delta: Tensor
    scale: float | Tensor = 1.0

    def apply(self, x: Tensor, rng: Generator) -> Tensor:
        """Every input with the change added."""
        return x + (self.delta * self.scale).to(x)

    def refilled(self, content: Tensor) -> "Added":
        """The same with other numbers."""
        return replace(self, delta=content)

    def tensors(self) -> Mapping[str, Tensor]:
        """The numbers that are added."""
        return {"delta": self.delta}


@method(cites="shafahi2020", where="alg. 2; the problem is that of Moosavi-Dezfooli et al. 2017")
@dataclass(frozen=True)
class UniversalPerturbation(UniversalAttack[Gradients]):
    r"""Universal adversarial perturbation.

    delta_{t+1} = Pi_eps ( delta_t + alpha_t steepest( mean_x grad min(L(f(x + delta_t), y), clip) ) )

    over mini-batches of x, alpha_t falling linearly to zero. The loss is clipped, so that no single
    input that is misread already drives the change. The first method of its kind sums up one
    DeepFool step per input instead, which takes hundreds of passes through the data; stochastic
    gradients fool as many with a few.
    """

    adds = True

    norm: str = hyper("linf", "the norms of Moosavi-Dezfooli et al. 2017", choices=("linf", "l2"))
    eps: float = hyper(0.1, "ours: the middle of the budgets of other attacks", low=0)
    targeted: bool = hyper(False, "alg. 2: any wrong answer")
    steps: int = hyper(100, "ours: 300 gain nothing on 8 x 8 digits", low=1)
    batch: int = hyper(64, "ours: the paper has 128 of 50,000 images", low=1)
    step_size: float = hyper(0.2, "ours: first step in units of eps", low=0)
    clip: float = hyper(9.0, "beta, the clipped loss of the paper", low=0)

    def craft(
        self, target: Gradients, data: Dataset, wanted: int | None, rng: Generator
    ) -> Iterator[Delta]:
        space = of_box(target.space)
        crowd = Crowd.of(data, wanted, space, images=False)
        norm = cast(Literal["linf", "l2"], self.norm)
        delta = torch.zeros_like(crowd.x[:1])
        for step in range(self.steps):
            x, goal = crowd.draw(self.batch, rng)

            def loss(raw: Tensor, goal: AwayFrom = goal) -> Tensor:
                return goal.loss(raw).clamp(max=self.clip)

            grad = target.gradient(space.within(x + space.scaled(delta), x), loss).wrt_input
            way = balls.steepest(space.scaled(grad).mean(0, keepdim=True), norm)
            alpha = self.step_size * self.eps * (1 - step / self.steps)
            delta = balls.project(delta + alpha * way, norm, self.eps)
            yield Added(delta[0], space.scale)
