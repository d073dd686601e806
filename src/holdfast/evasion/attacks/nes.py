"""Natural evolution strategies (Ilyas et al. 2018), and two relatives of theirs."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.errors import NotApplicable
from holdfast.core.goal import Goal
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget
from holdfast.core.target import Scores
from holdfast.evasion.scored import Problem, margin, odds
from holdfast.ops import balls, estimates
from holdfast.ops.rows import take

PUBLISHED = {"nes": (50, 1e-3, 0.2), "spsa": (128, 0.01, 0.2), "n_attack": (300, 0.1, 0.02)}
"""Queries per step, sigma and step size of each estimator in its paper or its authors' code."""
PATIENCE, DROP, FLOOR = 5, 2.0, 1e-3
"""Steps without gain before the step is halved, and its least size in eps (Ilyas, code)."""
INSIDE = 0.99
"""How near to the bounds a mean may start: at 1 - 1e-6, as in the code of N-Attack, black pixels
would need hundreds of steps to leave the flat end of tanh."""


@method(cites="ilyas2018", where="alg. 1 and sec. 2.1; code for momentum and decay")
@dataclass(frozen=True)
class NES(EvasionAttack[Scores]):
    r"""Natural evolution strategies.

    nes       g = 1 / (2 n sigma) sum (f(x + sigma u) - f(x - sigma u)) u,  u normal
              m <- 0.9 m + 0.1 g;  x <- Pi( x + step sign(m) ), the step halved on a plateau
    spsa      the same g with random signs u;  x <- Pi( x + Adam(g) )
    n_attack  x = Pi( tanh(z) ), z normal around mu;  mu <- mu + step / (n sigma) sum score_i u_i

    The loss is the log-odds against the label for `nes`, which has the direction of cross-entropy,
    and the margin for the others, SPSA (Uesato et al. 2018) and N-Attack (Li et al. 2019). One more
    query per step asks whether the goal is reached.
    """

    measures = ("linf", "l2")

    estimator: str = hyper(
        "nes", "Ilyas 2018; Uesato 2018; Li 2019", choices=("nes", "spsa", "n_attack")
    )
    steps: int = hyper(200, "ours: the usual 10,000 queries at 50 a step", low=1)
    samples: int = hyper(0, "0: 50 for nes, 128 for spsa, 300 for n_attack, as published", low=0)
    sigma: float = hyper(0.0, "0: 0.001 for nes, 0.01 for spsa, 0.1 for n_attack", low=0)
    step_size: float = hyper(
        0.0, "0: 0.2 eps (0.01 at eps 0.05); 0.02 for n_attack, in tanh space", low=0
    )
    momentum: float = hyper(0.9, "Ilyas 2018, authors' code", low=0, high=1)

    def run(self, target: Scores, x: Tensor, goal: Goal, budget: Budget, rng: Generator) -> Search:
        at = Problem(target, x, goal, budget)
        at = at.take((yield Candidate(x, at.degree(x))))
        adv, move = at.x, {"nes": self._nes, "spsa": self._spsa, "n_attack": self._mean}
        state = [torch.zeros_like(adv), torch.zeros_like(adv), adv.new_ones(len(adv))]
        state.append(adv.new_full((len(adv), PATIENCE), -torch.inf))
        for t in range(1, self.steps + 1):
            adv = move[self.estimator](at, adv, state, t, rng)
            keep = yield Candidate(adv, at.degree(adv))
            at, (adv, *state) = at.take(keep), take(keep, adv, *state)

    @property
    def settings(self) -> tuple[int, float, float]:
        """Queries per step, sigma and step size, the published ones where none were given."""
        samples, sigma, step = PUBLISHED[self.estimator]
        return self.samples or samples, self.sigma or sigma, self.step_size or step

    def _nes(self, at: Problem, adv: Tensor, state: list[Tensor], t: int, rng: Generator) -> Tensor:
        (samples, sigma, step), loss = self.settings, at.losses(odds)
        grad, value = estimates.antithetic(loss, adv, sigma, max(1, samples // 2), rng, at.unit)
        state[0] = self.momentum * state[0] + (1 - self.momentum) * grad * at.free
        recent = torch.cat([state[3][:, 1:], value.unsqueeze(1)], 1)
        stalled = recent[:, 0] > recent[:, -1]
        state[2] = torch.where(stalled, (state[2] / DROP).clamp(min=FLOOR / step), state[2])
        state[3] = recent.masked_fill(stalled.unsqueeze(1), -torch.inf)
        length = balls.rows(step * state[2], adv) * at.eps
        return at.moved(adv, length * balls.steepest(state[0], at.budget.norm))

    def _spsa(
        self, at: Problem, adv: Tensor, state: list[Tensor], t: int, rng: Generator
    ) -> Tensor:
        (samples, sigma, step), loss = self.settings, at.losses(margin)
        pairs = max(1, samples // 2)
        grad, _ = estimates.antithetic(loss, adv, sigma, pairs, rng, at.unit, signs=True)
        state[0] = 0.9 * state[0] + 0.1 * grad * at.free
        state[1] = 0.999 * state[1] + 0.001 * (grad * at.free).square()
        first, second = state[0] / (1 - 0.9**t), state[1] / (1 - 0.999**t)
        return at.moved(adv, step * at.eps * first / (second.sqrt() + 1e-8))

    def _mean(
        self, at: Problem, adv: Tensor, state: list[Tensor], t: int, rng: Generator
    ) -> Tensor:
        samples, sigma, step = self.settings
        low, high = (torch.as_tensor(v).to(adv) for v in (at.space.low, at.space.high))
        if not (low.isfinite().all() and high.isfinite().all()):
            raise NotApplicable("needs inputs with bounds, which tanh reaches at infinity")
        centre = torch.atanh((2 * (at.x - low) / (high - low) - 1).clamp(-INSIDE, INSIDE))

        def valid(z: Tensor, rows: Problem) -> Tensor:
            inside = low + (high - low) * (torch.tanh(z) + 1) / 2
            return at.space.project(inside, rows.x, rows.budget)

        def loss(points: Tensor) -> Tensor:
            n, count = points.shape[:2]
            rows = at.repeated(count)
            value, _ = rows.ask(valid(points.flatten(0, 1), rows), margin)
            return value.view(n, count)

        way, _ = estimates.search_gradient(loss, centre + state[0], sigma, samples, rng)
        state[0] = state[0] + step * way
        return valid(centre + state[0], at)
