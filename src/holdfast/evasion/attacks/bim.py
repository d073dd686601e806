"""Basic iterative method (Kurakin et al. 2017)."""

from dataclasses import dataclass

from torch import Generator, Tensor

from holdfast.core.goal import Goal, ToClass
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget
from holdfast.core.target import Gradients
from holdfast.ops.losses import cross_entropy
from holdfast.ops.rows import take


@method(cites="kurakin2017", where="sec. 2.2, 2.3")
@dataclass(frozen=True)
class BIM(EvasionAttack[Gradients]):
    r"""Basic iterative method.

    x_0 = x,   x_{t+1} = Pi_{B(x, eps)} ( x_t + alpha * steepest( grad L(f(x_t), y) ) )

    Projected gradient descent without a random start. With `least_likely` it climbs the
    log-probability of the class that was least likely at x, "iterative least-likely class".
    """

    measures = ("linf", "l2", "l1")

    steps: int = hyper(10, "sec. 2.2: min(eps + 4, 1.25 eps) for eps = 8 grey levels", low=1)
    step_size: float = hyper(1.25, "in units of eps / steps; sec. 2.2: 1.25 eps levels", low=0)
    least_likely: bool = hyper(False, "sec. 2.2; True is sec. 2.3")

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        space, adv, rarest = target.space, x, None

        def loss(raw: Tensor) -> Tensor:
            nonlocal rarest
            if not self.least_likely or isinstance(goal, ToClass):
                return goal.loss(raw)
            if rarest is None:
                rarest = raw.detach().argmin(1)
            return -cross_entropy(raw, rarest)

        for _ in range(self.steps):
            gradient = target.gradient(adv, loss)
            keep = yield Candidate(adv, goal.degree(target.decode(gradient.raw)))
            x, adv, goal, budget, grad, rarest = take(
                keep, x, adv, goal, budget, gradient.wrt_input, rarest
            )
            alpha = self.step_size / self.steps * budget.rows(x)
            adv = space.project(adv + alpha * space.steepest(grad, adv, budget), x, budget)
        yield Candidate(adv, goal.degree(target.answer(adv)))
