"""Sign-OPT (Cheng et al. 2020)."""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.goal import Goal
from holdfast.core.kinds import EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget
from holdfast.core.target import Answers
from holdfast.evasion.decisions import Hunt, Rays, begin
from holdfast.ops import balls
from holdfast.ops.boundary import AT_ONCE


@method(cites="cheng2020", where="alg. 1, eq. 4 and 5")
@dataclass(frozen=True)
class SignOPT(EvasionAttack[Answers]):
    r"""Sign-OPT.

    g(theta) is how far the boundary is from x along theta. One query tells the sign of its derivative
    along u, as x + g(theta) (theta + eps u) / |theta + eps u| reaches the goal exactly when g sinks:

    slope = 1/K sum_k sign(g(theta + eps u_k) - g(theta)) u_k,   u_k ~ N(0, I) / |.|
    theta <- (theta - alpha slope) / |.|,   alpha doubled while g sinks, or quartered until it does

    In iteration t there are K = directions sqrt(t): far from the goal a rough slope will do. The
    authors have 200 throughout.
    """

    measures = ("l2",)
    minimises = True

    iterations: int = hyper(60, "ours: about 10,000 queries", low=1)
    directions: int = hyper(20, "ours: sec. 4 has 200 in all iterations, slower at first", low=1)
    eps: float = hyper(0.001, "authors' code, beta", low=0)
    alpha: float = hyper(0.2, "authors' code", low=0)
    starts: int = hyper(20, "ours: beside the point found first; authors' code 100", low=0)
    init_trials: int = hyper(100, "ours: guesses that failed so often keep failing", low=1)

    def run(self, target: Answers, x: Tensor, goal: Goal, budget: Budget, rng: Generator) -> Search:
        hunt = yield from begin(target, x, goal, budget, rng, self.init_trials)
        rays = Rays.first(hunt, self.alpha, self.eps, self.starts, rng)
        for t in range(1, self.iterations + 1):
            rays = yield from rays.show(hunt)
            if not len(rays.theta):
                return
            count = int(self.directions * math.sqrt(t))
            rays = rays.descend(hunt, self.slope(hunt, rays, count, rng))
        yield hunt.candidate(rays.points(hunt))

    def slope(self, hunt: Hunt, rays: Rays, count: int, rng: Generator) -> Tensor:
        """Mean of `count` directions, each with the sign of the derivative of g along it: (M, ...)."""
        theta, total = rays.theta, torch.zeros_like(rays.theta)
        for part in torch.arange(count).split(max(1, AT_ONCE // max(1, len(theta)))):
            owner = hunt.rows.repeat_interleave(len(part))
            u = hunt.edge.noise(theta[owner], rng)
            near = balls.steepest(theta[owner] + balls.rows(rays.eps[owner], u) * u, "l2")
            points = hunt.x[owner] + balls.rows(rays.g[owner], u) * near
            sunk = hunt.edge.reached(hunt.edge.within(points, owner), owner)
            total = total.index_add(0, owner, balls.rows(1 - 2 * sunk.to(u.dtype), u) * u)
        return total / count
