"""Prior-guided random gradient-free attack (Cheng et al. 2019)."""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.goal import Goal
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget
from holdfast.core.target import Scores
from holdfast.evasion.scored import Problem, odds
from holdfast.ops import balls, estimates
from holdfast.ops.rows import take

EVERY, DRAWS, EARLY = 10, 10, 3
"""The gradient's norm is measured at every tenth step, and at step three, with ten queries (code)."""


@method(cites="cheng2019prior", where="alg. 1, eq. 5, 12, 13, 15 and 16")
@dataclass(frozen=True)
class RGF(EvasionAttack[Scores]):
    r"""Prior-guided random gradient-free attack.

    With a prior v, |v| = 1, for the direction of the gradient g:

    alpha = cos(v, g), from  g^T v ~ (f(x + sigma v) - f(x)) / sigma  and
            |g|^2 ~ D / S sum_s ((f(x + sigma w_s) - f(x)) / sigma)^2,  w_s uniform, |w_s| = 1
    u_i   = sqrt(lambda) v + sqrt(1 - lambda) n_i,   n_i uniform orthogonal to v
    g     ~ 1/q sum_i (f(x + sigma u_i) - f(x)) / sigma u_i
    x    <- Pi( x + step steepest(g) )

    with the lambda(alpha, D, q) of eq. 13; where it is one, v is used without more queries. There is
    no surrogate model here: the prior is the last estimate, the gradient changing slowly along the
    way (Ilyas et al. 2019, sec. 2.3). A prior that points downhill is turned round.
    """

    measures = ("linf", "l2")

    steps: int = hyper(200, "ours: the paper's limit of 10,000 queries at 50 a step", low=1)
    samples: int = hyper(50, "sec. 4, q", low=1)
    sigma: float = hyper(1e-3, "authors' code, the larger of two, in root mean square", low=1e-8)
    step_size: float = hyper(0.1, "sec. 4, 0.005 at eps 0.05", low=0)
    prior: bool = hyper(True, "False: plain RGF, the paper's baseline")

    def run(self, target: Scores, x: Tensor, goal: Goal, budget: Budget, rng: Generator) -> Search:
        at = Problem(target, x, goal, budget)
        value, degree = at.ask(x, odds)
        keep = yield Candidate(x, degree)
        at, (adv, value) = at.take(keep), take(keep, x, value)
        guess, size = torch.zeros_like(adv), torch.zeros_like(value)
        for t in range(self.steps):
            if self.prior and t and (t % EVERY == 0 or t == EARLY or t == 1):
                size = self._size(at, adv, value, rng)
            guess = self._estimate(at, adv, value, guess, size, rng)
            adv = at.moved(adv, self.step_size * at.eps * balls.steepest(guess, budget.norm))
            value, degree = at.ask(adv, odds)
            keep = yield Candidate(adv, degree)
            at, (adv, value, guess, size) = at.take(keep), take(keep, adv, value, guess, size)

    def reach(self, at: Problem) -> float:
        """Length of a probe: `sigma` in every feature."""
        return self.sigma * math.sqrt(float(at.free.sum()))

    def _size(self, at: Problem, adv: Tensor, value: Tensor, rng: Generator) -> Tensor:
        """(N,) norm of the gradient (eq. 16)."""
        noise = estimates.draw(adv, DRAWS, rng) * at.free
        way = balls.steepest(noise.flatten(0, 1), "l2").view_as(noise)
        rise = at.losses(odds)(adv.unsqueeze(1) + self.reach(at) * at.unit * way)
        slope = (rise - value.unsqueeze(1)) / self.reach(at)
        return (at.free.sum() * slope.square().mean(1)).sqrt()

    def _estimate(
        self, at: Problem, adv: Tensor, value: Tensor, guess: Tensor, size: Tensor, rng: Generator
    ) -> Tensor:
        """Direction of the gradient, from the last one and new queries."""
        prior, sigma = balls.steepest(guess if self.prior else 0 * guess, "l2"), self.reach(at)
        share = torch.zeros_like(value)
        if self.prior and len(adv) and bool((size > 0).any()):
            probe = (adv + sigma * at.unit * prior).unsqueeze(1)
            slope = (at.losses(odds)(probe).squeeze(1) - value) / sigma
            cosine = (slope / size.clamp(min=balls.TINY)).clamp(-1, 1)
            prior = prior * balls.rows(torch.where(slope < 0, -1.0, 1.0), prior)
            share = estimates.prior_share(cosine, int(at.free.sum()), self.samples)
        unsure = (share < 1).nonzero().flatten()
        if not len(unsure):
            return prior
        part = at.take(unsure)
        values, points, priors, shares = take(unsure, value, adv, prior, share)
        got = estimates.guided(
            part.losses(odds), values, points, priors, shares, sigma, self.samples, rng, at.unit
        )
        return prior.index_copy(0, unsure, got * at.free)
