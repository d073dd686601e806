"""GeoDA (Rahmati et al. 2020)."""

import math
from collections.abc import Callable
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

FAR = 1e9
"""Beyond all bounds, in units of change."""


@method(cites="rahmati2020", where="alg. 1, eq. 8 and 19")
@dataclass(frozen=True)
class GeoDA(EvasionAttack[Answers]):
    r"""GeoDA.

    The boundary is taken as flat. Each iteration t estimates its normal w at the boundary point adv
    and starts anew from x along the way that is best for a plane of this normal:

    w   <- w + sum_i phi(adv + delta eta_i) eta_i,   i = 1 .. first_queries decay^{-2t/3}
    adv <- x + r v(w),                               r the smallest for which the goal is reached

    with v = w / |w| for L2 and sign(w) for Linf; for L1 it fills up the features of largest |w| one
    after the other to their bounds. The eta_i are low-frequency noise for images (share `band` of
    the frequencies along each side) and noise in all features otherwise. A new point that is
    farther away is dropped; the normals of all iterations are added up, as in the authors' code.
    """

    measures = ("l2", "linf", "l1")
    minimises = True

    iterations: int = hyper(12, "ours: together 10,000 queries", low=1)
    first_queries: int = hyper(65, "authors' code: between 50 and 80", low=2)
    decay: float = hyper(0.6, "authors' code, mu", low=0.1, high=1)
    band: float = hyper(0.34, "authors' code: 75 of 224", low=0, high=1)
    delta: float = hyper(0.002, "authors' code: sigma 0.0002 times the norm of the noise", low=0)
    width: float = hyper(1e-4, "authors' code: tolerance of the search", low=1e-6, high=1)
    init_trials: int = hyper(100, "ours: guesses that failed so often keep failing", low=1)

    def run(self, target: Answers, x: Tensor, goal: Goal, budget: Budget, rng: Generator) -> Search:
        hunt = yield from begin(target, x, goal, budget, rng, self.init_trials)
        adv = hunt.edge.search(hunt.x, hunt.adv, hunt.rows, math.ceil(-math.log2(self.width)))
        total = torch.zeros_like(adv)
        for t in range(self.iterations):
            adv, total = yield from hunt.show(adv, total)
            if not len(adv):
                return
            count = round(self.first_queries * self.decay ** (-2 * t / 3))
            delta = adv.new_full((len(adv),), self.delta)
            draw = low_frequencies(self.band)
            total = total + hunt.edge.normal(adv, hunt.rows, delta, count, rng, draw)
            adv = self._nearest(hunt, adv, total)
        yield hunt.candidate(adv)

    def _nearest(self, hunt: Hunt, adv: Tensor, normal: Tensor) -> Tensor:
        """Where the path from x that suits the plane crosses the boundary, if nearer than `adv`."""
        path, before = along(hunt, normal), hunt.distance(adv)
        found = hunt.edge.radius(path, before, hunt.rows, self.width)
        won = found.isfinite().nonzero().flatten()
        nearest: Tensor = put(adv, won, path(found[won], won))
        return nearest


def along(hunt: Hunt, normal: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """(lengths, rows) -> the farthest points beyond a plane of this normal at that distance of x."""
    if hunt.budget.norm == "l1":
        return _filling(hunt, normal)
    way = balls.steepest(normal, hunt.budget.norm)

    def path(length: Tensor, which: Tensor) -> Tensor:
        return hunt.edge.within(hunt.x[which] + balls.rows(length, way) * way[which], which)

    return path


def _filling(hunt: Hunt, normal: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Features of largest normal first, each to its bound."""
    far = hunt.edge.within(hunt.x + FAR * normal.sign(), hunt.rows) - hunt.x
    order = normal.flatten(1).abs().argsort(dim=1, descending=True)
    room = far.flatten(1).abs().gather(1, order)
    before = room.cumsum(1) - room

    def path(length: Tensor, which: Tensor) -> Tensor:
        amount = (length.view(-1, 1) - before[which]).clamp(min=0).minimum(room[which])
        moved = torch.zeros_like(amount).scatter(1, order[which], amount)
        point = hunt.x[which] + moved.view_as(far[which]) * far[which].sign()
        return hunt.edge.within(point, which)

    return path
