"""Bayesian optimisation for low query budgets (Shukla et al. 2021)."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.goal import Goal
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget
from holdfast.core.target import Scores
from holdfast.evasion.scored import Problem, odds
from holdfast.ops import balls, dct, gaussian, squares
from holdfast.ops.rows import take

REACH = (0.5, 0.2, 0.1, 0.03)
"""Spreads of the guesses around the best direction so far; as many more are uniform."""


@method(cites="shukla2021", where="sec. 4, alg. 1, with scores in place of the hard label")
@dataclass(frozen=True)
class BayesOpt(EvasionAttack[Scores]):
    r"""Bayesian-optimisation attack.

    A direction z in the space of a few low frequencies stands for an input,

    adv = x + eps u / |u|_2  (l2)  or  x + eps sign(u)  (linf),   u = inverse cosine transform of z

    f(z), the log-odds against the label, is modelled by a Gaussian process with a Matern 5/2 kernel
    on the unit sphere, as only the direction of z counts. Its length scale has the largest marginal
    likelihood. The next query is the guess with the largest expected improvement, or upper
    confidence bound mean + 2 deviations.

    Meant for a few hundred queries: the cost of a step grows with the third power of their number.
    Inputs that are no images are a line of features.
    """

    measures = ("linf", "l2")

    steps: int = hyper(200, "ours: low query budget; the paper allows up to 1000", low=1)
    initial: int = hyper(5, "authors' code, random queries at first", low=2)
    side: int = hyper(4, "ours: lowest frequencies per axis and channel, for small images", low=1)
    guesses: int = hyper(512, "ours: among which the acquisition is maximised", low=8)
    acquisition: str = hyper("ei", "sec. 4.2", choices=("ei", "ucb"))

    def run(self, target: Scores, x: Tensor, goal: Goal, budget: Budget, rng: Generator) -> Search:
        at = Problem(target, x, goal, budget)
        at = at.take((yield Candidate(x, at.degree(x))))
        if not len(at.x):
            return
        dims = self._dims(at.x)
        tried = at.x.new_zeros(len(at.x), 0, dims)
        values = at.x.new_zeros(len(at.x), 0)
        for t in range(self.initial + self.steps):
            if t < self.initial:
                z = self._sphere(len(at.x), 1, dims, at.x, rng).squeeze(1)
            else:
                z = self._next(tried, values, rng)
            adv = at.moved(
                at.x, at.eps * balls.steepest(self._waves(at.x, z) * at.free, budget.norm)
            )
            loss, degree = at.ask(adv, odds)
            tried = torch.cat([tried, z.unsqueeze(1)], 1)
            values = torch.cat([values, loss.unsqueeze(1)], 1)
            keep = yield Candidate(adv, degree)
            at, (tried, values) = at.take(keep), take(keep, tried, values)

    def _next(self, tried: Tensor, values: Tensor, rng: Generator) -> Tensor:
        """(N, D) the most promising of many guesses."""
        n, _, dims = tried.shape
        model = gaussian.fit(tried, values)
        best = tried.gather(1, values.argmax(1).view(-1, 1, 1).expand(-1, 1, dims))
        each = self.guesses // (len(REACH) * 2)
        guesses = [self._sphere(n, self.guesses // 2, dims, tried, rng)]
        guesses += [best + s * self._sphere(n, each, dims, tried, rng) for s in REACH]
        points = torch.nn.functional.normalize(torch.cat(guesses, 1), dim=2)
        mean, deviation = model.at(points)
        if self.acquisition == "ei":
            top = values.amax(1, keepdim=True).double()
            merit = gaussian.expected_improvement(mean, deviation, top)
        else:
            merit = mean + 2 * deviation
        return points.gather(1, merit.argmax(1).view(-1, 1, 1).expand(-1, 1, dims)).squeeze(1)

    def _sphere(self, n: int, count: int, dims: int, like: Tensor, rng: Generator) -> Tensor:
        """(n, count, dims) uniform unit vectors."""
        noise = torch.randn(n, count, dims, generator=rng, device=rng.device).to(like)
        return torch.nn.functional.normalize(noise, dim=2)

    def _corner(self, x: Tensor) -> tuple[int, int, int]:
        """Channels, and the low frequencies that are used along each axis."""
        channels, height, width = squares.images(x).shape[1:]
        if height == 1:
            return channels, 1, min(self.side**2, width)
        return channels, min(self.side, height), min(self.side, width)

    def _dims(self, x: Tensor) -> int:
        channels, height, width = self._corner(x)
        return channels * height * width

    def _waves(self, x: Tensor, z: Tensor) -> Tensor:
        """(N, ...) the changes that directions (N, D) stand for."""
        channels, height, width = self._corner(x)
        spectrum = torch.zeros_like(squares.images(x))
        spectrum[:, :, :height, :width] = z.view(-1, channels, height, width)
        return dct.inverse(spectrum).view_as(x)
