"""OPT attack (Cheng et al. 2019)."""

from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from holdfast.core.goal import Goal
from holdfast.core.kinds import EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget
from holdfast.core.target import Answers
from holdfast.evasion.decisions import Hunt, Rays, begin
from holdfast.ops import balls


@method(cites="cheng2019", where="alg. 1 and 2, eq. 4 and 5")
@dataclass(frozen=True)
class OPTAttack(EvasionAttack[Answers]):
    r"""OPT attack.

    g(theta) is how far the boundary is from x along theta. Its slope is estimated from its values
    along random directions, each found by a coarse search outwards or inwards and then bisection:

    slope = 1/q sum_i (g(theta + beta u_i) - g(theta)) / beta u_i,   u_i ~ N(0, I) / |.|
    theta <- (theta - alpha slope) / |.|,   alpha doubled while g sinks, or quartered until it does

    The best of the directions tried is taken where it beats that step.
    """

    measures = ("l2",)
    minimises = True

    iterations: int = hyper(30, "ours: about 10,000 queries", low=1)
    directions: int = hyper(20, "sec. 4, q", low=1)
    beta: float = hyper(0.001, "authors' code", low=0)
    alpha: float = hyper(0.2, "authors' code", low=0)
    starts: int = hyper(20, "ours: beside the point found first; authors' code 1000", low=0)
    init_trials: int = hyper(100, "ours: guesses that failed so often keep failing", low=1)

    def run(self, target: Answers, x: Tensor, goal: Goal, budget: Budget, rng: Generator) -> Search:
        hunt = yield from begin(target, x, goal, budget, rng, self.init_trials)
        rays = Rays.first(hunt, self.alpha, self.beta, self.starts, rng)
        for _ in range(self.iterations):
            rays = yield from rays.show(hunt)
            if not len(rays.theta):
                return
            slope, tried = self.slope(hunt, rays, rng)
            stepped = rays.descend(hunt, slope)
            rays = stepped.where(stepped.g <= tried.g, tried)
        yield hunt.candidate(rays.points(hunt))

    def slope(self, hunt: Hunt, rays: Rays, rng: Generator) -> tuple[Tensor, Rays]:
        """The estimate of the slope of g (M, ...), and the best of the directions it looked along."""
        total, tried = (
            torch.zeros_like(rays.theta),
            replace(rays, g=torch.full_like(rays.g, torch.inf)),
        )
        for _ in range(self.directions):
            u = hunt.edge.noise(rays.theta, rng)
            theta = balls.steepest(rays.theta + balls.rows(rays.eps, u) * u, "l2")
            g = rays.length(hunt, theta, rays.g, hunt.rows, beside=True)
            rise = torch.where(g.isfinite(), g - rays.g, 0) / rays.eps
            total = total + balls.rows(rise, u) * u
            tried = tried.where(tried.g <= g, replace(rays, theta=theta, g=g))
        return total / self.directions, tried
