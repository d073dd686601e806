"""Backward pass differentiable approximation (Athalye, Carlini and Wagner 2018)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from holdfast.core.errors import NotApplicable
from holdfast.core.goal import Goal
from holdfast.core.kinds import EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget, Normed
from holdfast.core.target import Gradient, Shielded
from holdfast.evasion.attacks.pgd import PGD
from holdfast.ops.surrogates import mimic, pulled


@dataclass(frozen=True, eq=False)
class Bypassed:
    """The defended target, with the defence on the way back replaced by the identity or `back`."""

    target: Shielded
    back: nn.Module | None

    @property
    def space(self) -> Normed:
        """Valid inputs are those of the target."""
        return self.target.space

    def scores(self, x: Tensor) -> Tensor:
        """As the target scores."""
        return self.target.scores(x)

    def decode(self, raw: Tensor) -> Tensor:
        """As the target decodes."""
        return self.target.decode(raw)

    def answer(self, x: Tensor) -> Tensor:
        """As the target answers."""
        return self.target.answer(x)

    def gradient(self, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Gradient:
        """J_back(x)^T times the gradient of the model behind at what it is shown."""
        got = self.target.behind(self.target.shield(x), loss)
        if self.back is not None:
            return Gradient(pulled(self.back, x, got.wrt_input), got.raw)
        if got.wrt_input.shape != x.shape:
            raise NotApplicable("the defence changes the shape of inputs: use backward=learned")
        return got


@method(cites="athalye2018", where="sec. 4.1")
@dataclass(frozen=True)
class BPDA(EvasionAttack[Shielded]):
    r"""Backward pass differentiable approximation.

    f(s(x)) forward, and on the way back the defence s is replaced by a smooth s' ~ s:

    x_{t+1} = Pi_{B(x, eps)} ( x_t + alpha * steepest( J_{s'}(x_t)^T grad L(f(z), y) ) ),  z = s(x_t)

    `backward="identity"` takes s'(x) = x, right for defences that nearly leave inputs as they are.
    Where s moves them far (inverts, shifts) the identity may point the wrong way: "learned" fits
    s' to pairs (u, s(u)), with u drawn from the ball around the rows at hand. The pairs cost no
    passes of the model, as the attacker holds the defence.
    """

    measures = PGD.measures

    steps: int = hyper(40, "as PGD: Madry et al. 2018, sec. 5", low=1)
    step_size: float = hyper(2.5, "in units of eps / steps, as PGD", low=0)
    random_start: bool = hyper(True, "as PGD")
    backward: str = hyper("identity", "sec. 4.1.1 and 4.1.2", choices=("identity", "learned"))
    pairs: int = hyper(
        2048, "ours: pairs to learn from; four per feature where that is more", low=2
    )
    lessons: int = hyper(400, "ours: training steps of the learned s'", low=0)

    def run(
        self, target: Shielded, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        back = self._learn(target, x, budget, rng) if self.backward == "learned" else None
        pgd = PGD(self.steps, self.step_size, self.random_start)
        yield from pgd.run(Bypassed(target, back), x, goal, budget, rng)

    def _learn(self, target: Shielded, x: Tensor, budget: Budget, rng: Generator) -> nn.Module:
        """s', trained on the rows themselves and on points of the ball around them."""
        count = max(self.pairs, 4 * x[0].numel())
        rows = torch.arange(count, device=x.device) % len(x)
        # the ball's scale is what matters: within it, gradients are asked for
        near = target.space.random(x[rows], budget.take(rows), rng)
        asked = torch.cat([x, near])
        back = mimic(asked, target.shield(asked), self.lessons, rng)
        if back is None:
            raise NotApplicable("no surrogate for inputs this large that are not images")
        return back
