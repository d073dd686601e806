"""Bandit optimisation with priors (Ilyas et al. 2019)."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import interpolate

from holdfast.core.goal import Goal
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget
from holdfast.core.target import Scores
from holdfast.evasion.scored import Problem, odds
from holdfast.ops import balls
from holdfast.ops.rows import take

TILES = 3 * 50 * 50
"""Tiles in the authors' experiments. One query pair moves each tile's guess by a share 1 / tiles, so
their rates are scaled with the number of tiles: few would be thrown to and fro by them."""
PUBLISHED = {"linf": (0.1, 1.0, 100.0, 0.2), "l2": (0.01, 0.01, 0.1, 0.1)}
"""Probe, exploration, rate of the prior, and step in eps, in the authors' configurations."""


@method(cites="ilyas2019", where="alg. 1, 2 and 3")
@dataclass(frozen=True)
class Bandits(EvasionAttack[Scores]):
    r"""Bandits with time and data priors.

    The prior v, a guess of the gradient's direction, is kept from step to step (time) and is
    constant on tiles of the image (data). With U = upsampling and u normal noise of mean length one

    q_{1,2} = U(v + delta u), U(v - delta u)
    d = ( L(x + eta q_1 / |q_1|) - L(x + eta q_2 / |q_2|) ) / (delta eta)
    v <- A(v, d delta u);   x <- Pi( x + step steepest(U(v)) )

    where A is exponentiated gradient in [-1, 1] for linf and gradient ascent for l2. The loss is the
    log-odds against the label; a third query asks whether the goal is reached.
    """

    measures = ("linf", "l2")

    steps: int = hyper(3333, "ours: the paper's limit of 10,000 queries, three at a step", low=1)
    tile_size: int = hyper(50, "authors' code; images no larger have one tile per pixel", low=1)
    probe: float = hyper(0.0, "eta; 0: 0.1 for linf, 0.01 for l2, authors' code", low=0)
    exploration: float = hyper(0.0, "delta; 0: 1 for linf, 0.01 for l2, authors' code", low=0)
    prior_rate: float = hyper(
        0.0, "0: 100 for linf, 0.1 for l2, per 7,500 tiles, authors' code", low=0
    )
    step_size: float = hyper(
        0.0, "in units of eps; 0: 0.2 for linf (0.01 at 0.05), 0.1 for l2 (0.5 at 5)", low=0
    )

    def run(self, target: Scores, x: Tensor, goal: Goal, budget: Budget, rng: Generator) -> Search:
        at = Problem(target, x, goal, budget)
        at = at.take((yield Candidate(x, at.degree(x))))
        given = (self.probe, self.exploration, self.prior_rate, self.step_size)
        published = PUBLISHED[budget.norm]
        eta, delta, rate, step = (a or b for a, b in zip(given, published, strict=True))
        adv, prior = at.x, torch.zeros_like(self._tiles(at.x))
        if not self.prior_rate:
            rate *= prior[:1].numel() / TILES
        for _ in range(self.steps):
            noise = torch.randn(prior.shape, generator=rng, device=rng.device, dtype=prior.dtype)
            noise = delta * noise / max(1, prior[:1].numel()) ** 0.5
            ways = [self._up(prior + sign * noise, adv) * at.free for sign in (1, -1)]
            probes = [adv + at.unit * eta * balls.steepest(way, "l2") for way in ways]
            first, second = at.losses(odds)(torch.stack(probes, 1)).unbind(1)
            slope = (first - second) / (delta * eta)
            prior = self._learn(prior, balls.rows(slope, prior) * noise, rate, budget.norm)
            way = balls.steepest(self._up(prior, adv) * at.free, budget.norm)
            adv = at.moved(adv, step * at.eps * way)
            keep = yield Candidate(adv, at.degree(adv))
            at, (adv, prior) = at.take(keep), take(keep, adv, prior)

    def _learn(self, prior: Tensor, gradient: Tensor, rate: float, norm: balls.Norm) -> Tensor:
        """The prior after one step of ascent (alg. 3)."""
        if norm == "l2":
            return prior + rate * gradient
        # exponentiated gradient (eq. 8), written as tanh(atanh(v) + rate g) so that nothing overflows
        near = prior.clamp(-1 + 1e-6, 1 - 1e-6)
        return torch.tanh(torch.atanh(near) + rate * gradient)

    def _tiles(self, x: Tensor) -> Tensor:
        """Zeros, one per tile of an image or per feature of anything else."""
        if x.ndim < 4:
            return x
        return x[..., : min(x.shape[-2], self.tile_size), : min(x.shape[-1], self.tile_size)]

    def _up(self, prior: Tensor, like: Tensor) -> Tensor:
        """Tiles as an image, every pixel with the value of its tile."""
        if prior.shape == like.shape:
            return prior
        return interpolate(prior.flatten(1, -3), size=like.shape[-2:]).view_as(like)
