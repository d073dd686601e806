"""Projected gradient descent (Madry et al. 2018)."""

from dataclasses import dataclass

from torch import Generator, Tensor

from holdfast.core.goal import Goal
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget
from holdfast.core.target import Gradients
from holdfast.ops.rows import take


@method(cites="madry2018", where="sec. 2.1, last equation")
@dataclass(frozen=True)
class PGD(EvasionAttack[Gradients]):
    r"""Projected gradient descent.

    x_{t+1} = Pi_{B(x, eps)} ( x_t + alpha * steepest( grad L(f(x_t), y) ) )

    The random start stays in the box by projection outside of the graph: clamping inside it kills
    the gradient of pixels at the bounds.
    """

    measures = ("linf", "l2", "l1")

    steps: int = hyper(40, "sec. 5, MNIST adversary", low=1)
    step_size: float = hyper(2.5, "in units of eps / steps; MadryLab robustness package", low=0)
    random_start: bool = hyper(True, "sec. 4, restarts")

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        space = target.space
        adv = space.random(x, budget, rng) if self.random_start else x
        for _ in range(self.steps):
            gradient = target.gradient(adv, goal.loss)
            keep = yield Candidate(adv, goal.degree(target.decode(gradient.raw)))
            x, adv, goal, budget, grad = take(keep, x, adv, goal, budget, gradient.wrt_input)
            alpha = self.step_size / self.steps * budget.rows(x)
            adv = space.project(adv + alpha * space.steepest(grad, adv, budget), x, budget)
        yield Candidate(adv, goal.degree(target.answer(adv)))
