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

NUDGE = 1e-4
"""Part of g by which a feature is moved to see whether its bounds let it."""


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

    Two things are ours. A feature that x + g(theta) theta leaves beyond its bound answers no probe, so
    u is zero there, as noise in it would only blur the slope; in each iteration a share of these
    features, recall, is put back onto the bound, where half of the probes are felt. And the mean sign
    is subtracted, as for HopSkipJump.
    """

    measures = ("l2",)
    minimises = True

    iterations: int = hyper(60, "ours: about 10,000 queries", low=1)
    directions: int = hyper(20, "ours: sec. 4 has 200 in all iterations, slower at first", low=1)
    eps: float = hyper(0.001, "authors' code, beta", low=0)
    alpha: float = hyper(0.2, "authors' code", low=0)
    recall: float = hyper(0.15, "ours: of 0.02 to 0.2 on MNIST", low=0, high=1)
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
            rays = rays.recalled(hunt, self.recall, rng)
            rays = rays.descend(hunt, self.slope(hunt, rays, count, rng))
        yield hunt.candidate(rays.points(hunt))

    def slope(self, hunt: Hunt, rays: Rays, count: int, rng: Generator) -> Tensor:
        """Mean of `count` directions, each with the sign of the derivative of g along it: (M, ...)."""
        theta, within = rays.theta, hunt.edge.within
        total, plain, mean = torch.zeros_like(theta), torch.zeros_like(theta), rays.g * 0
        at, nudge = hunt.x + balls.rows(rays.g, theta) * theta, balls.rows(rays.g * NUDGE, theta)
        spot = within(at, hunt.rows)
        felt = (within(at + nudge, hunt.rows) != within(at - nudge, hunt.rows)).to(theta.dtype)
        for part in torch.arange(count).split(max(1, AT_ONCE // max(1, len(theta)))):
            owner = hunt.rows.repeat_interleave(len(part))
            u = balls.steepest(hunt.edge.noise(theta[owner], rng) * felt[owner], "l2")
            near = balls.steepest(theta[owner] + balls.rows(rays.eps[owner], u) * u, "l2")
            points = hunt.x[owner] + balls.rows(rays.g[owner], u) * near
            valid = within(points, owner)
            moved, wanted = (valid - spot[owner]).abs(), (points - at[owner]).abs()
            u = u * (moved >= wanted / 2)  # 1 but for rounding, 0 where a bound was in the way
            sign = 1 - 2 * hunt.edge.reached(valid, owner).to(u.dtype)
            total = total.index_add(0, owner, balls.rows(sign, u) * u)
            plain, mean = plain.index_add(0, owner, u), mean.index_add(0, owner, sign / count)
        return (total - balls.rows(mean, theta) * plain) / count
