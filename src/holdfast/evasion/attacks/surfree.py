"""SurFree (Maho, Furon and Le Merrer 2021)."""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.goal import Goal
from holdfast.core.kinds import EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget
from holdfast.core.target import Answers
from holdfast.evasion.decisions import Hunt, begin, low_frequencies
from holdfast.ops import balls
from holdfast.ops.rows import put

ROOM = 2**26
"""Numbers that may be held for past directions."""


@method(cites="maho2021", where="alg. 1 to 3, eq. 8 to 12")
@dataclass(frozen=True)
class SurFree(EvasionAttack[Answers]):
    r"""SurFree.

    With d = |adv - x|, u = (adv - x) / d and a random direction v orthogonal to u, points of the
    circle with diameter from x to adv are

    z(theta) = x + d cos(theta) (u cos(theta) + v sin(theta)),   at distance d cos(theta) of x

    A flat boundary is left at the very point of it that is nearest to x in this plane. Signs and
    sizes theta_max {1, -1, ...} (T - i) / T are tried until one reaches the goal, then the largest
    such angle is bisected: every success comes nearer and no gradient is estimated. theta_max grows
    by 1 / rho after a success and shrinks by rho after a failure. For images v is low-frequency
    noise; it is also orthogonal to the last directions tried.
    """

    measures = ("l2",)
    minimises = True

    steps: int = hyper(1000, "ours: about 5,000 queries", low=1)
    theta_max: float = hyper(30.0, "authors' code, degrees", low=0, high=80)
    tries: int = hyper(3, "authors' code, T", low=1)
    rho: float = hyper(0.98, "authors' code", low=0.5, high=1)
    halvings: int = hyper(10, "authors' code, BS_max_iteration", low=0)
    width: float = hyper(0.01, "authors' code, BS_gamma, of the cosine", low=0)
    memory: int = hyper(100, "authors' code, n_ortho", low=0)
    band: float = hyper(
        0.5, "ours, along each side; authors' code: half of the waves", low=0, high=1
    )
    init_trials: int = hyper(100, "ours: guesses that failed so often keep failing", low=1)

    def run(self, target: Answers, x: Tensor, goal: Goal, budget: Budget, rng: Generator) -> Search:
        hunt = yield from begin(target, x, goal, budget, rng, self.init_trials)
        adv = hunt.edge.search(hunt.x, hunt.adv, hunt.rows, self.halvings)
        theta = adv.new_full((len(adv),), math.radians(self.theta_max))
        kept = min(self.memory, hunt.edge.dims // 2, ROOM // max(1, adv.numel()))
        past = adv.new_zeros(len(adv), kept, *adv.shape[1:])
        for _ in range(self.steps):
            adv, theta, past = yield from hunt.show(adv, theta, past)
            if not len(adv):
                return
            v = hunt.edge.noise(adv, rng, low_frequencies(self.band))
            share = torch.einsum("mk...,m...->mk", past, v)
            v = v - torch.einsum("mk,mk...->m...", share, past)
            u = balls.steepest(adv - hunt.x, "l2")
            v = balls.steepest(v - balls.rows((u * v).flatten(1).sum(1), v) * u, "l2")
            past = torch.cat([past[:, 1:], v.unsqueeze(1)], 1)[:, :kept]
            angle = self._turn(hunt, adv, u, v, theta)
            won = angle != 0
            theta = torch.where(won, theta / self.rho, theta * self.rho)
            theta = theta.clamp(max=math.radians(80))
            index = won.nonzero().flatten()
            adv = put(adv, index, arc(hunt, adv, u, v, angle[index], index))
        yield hunt.candidate(adv)

    def _turn(self, hunt: Hunt, adv: Tensor, u: Tensor, v: Tensor, theta: Tensor) -> Tensor:
        """The largest angle that was seen to reach the goal, 0 where none did: (M,)."""

        def holds(angle: Tensor, which: Tensor) -> Tensor:
            return hunt.edge.reached(arc(hunt, adv, u, v, angle, which), which)

        near, left = torch.zeros_like(theta), hunt.rows
        for i in range(2 * self.tries):
            if not len(left):
                break
            size = (1 - (i // 2) / self.tries) * theta[left] * (1 - 2 * (i % 2))
            hit = holds(size, left)
            near, left = put(near, left[hit], size[hit]), left[~hit]
        gap = near.sign() * theta / self.tries
        far = near + gap
        left = (near.abs() == theta).nonzero().flatten()  # nothing beyond it was tried yet
        while len(left):
            left = left[far[left].abs() < math.pi / 2]
            hit = holds(far[left], left) if len(left) else left > 0
            left = left[hit]
            near, far = put(near, left, far[left]), put(far, left, far[left] + gap[left])
        left = near.nonzero().flatten()
        for _ in range(self.halvings):
            left = left[(near[left].cos() - far[left].cos()).abs() > self.width]
            if not len(left):
                break
            middle = (near[left] + far[left]) / 2
            hit = holds(middle, left)
            near = put(near, left[hit], middle[hit])
            far = put(far, left[~hit], middle[~hit])
        return near


def arc(hunt: Hunt, adv: Tensor, u: Tensor, v: Tensor, angle: Tensor, which: Tensor) -> Tensor:
    """z(theta) of the rows `which`, angles in radians (L,) -> (L, ...)."""
    turn = balls.rows(angle, adv)
    way = u[which] * turn.cos() + v[which] * turn.sin()
    length = balls.rows(hunt.distance(adv)[which], adv) * turn.cos()
    return hunt.edge.within(hunt.x[which] + length * way, which)
