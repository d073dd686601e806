"""Threshold attack by differential evolution (Kotyan and Vargas 2022)."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor

from holdfast.core.goal import Goal
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget
from holdfast.core.target import Scores
from holdfast.evasion.scored import Problem, odds
from holdfast.ops import evolution
from holdfast.ops.rows import take


@method(cites="kotyan2022", where="sec. 3; authors' code for the settings")
@dataclass(frozen=True)
class Threshold(EvasionAttack[Scores]):
    r"""Threshold attack.

    Differential evolution over all features at once, each within eps of its clean value:

    child_i = r_best + F (r_1 - r_2),   F uniform in [0.5, 1], new in every generation

    takes its parent's place where it lowers the probability of the label (or raises that of the
    wanted class) at least as far. Genes that leave their range are clipped to it: on a smooth model
    the best change lies at a corner, which values drawn anew would hardly hit. With `crossover`
    below one a child keeps some of its parent's genes. The published attack may also use CMA-ES,
    which is not offered here.
    """

    measures = ("linf",)

    steps: int = hyper(100, "authors' code, max_iter", low=1)
    population: int = hyper(400, "authors' code, pop_size", low=4)
    weight: float = hyper(
        0.5, "SciPy's default, the lower end of F; the upper one is 1", low=0, high=1
    )
    crossover: float = hyper(1.0, "authors' code, recombination", low=0, high=1)

    def run(self, target: Scores, x: Tensor, goal: Goal, budget: Budget, rng: Generator) -> Search:
        at = Problem(target, x, goal, budget)
        at = at.take((yield Candidate(x, at.degree(x))))
        shape = (len(at.x), self.population, at.x[:1].numel())
        genes = torch.rand(shape, generator=rng, device=rng.device).to(x)
        fitness, shown, degree = at.contest(genes, partial(self._decode, at), odds)
        for _ in range(self.steps):
            keep = yield Candidate(shown, degree)
            at, (genes, fitness) = at.take(keep), take(keep, genes, fitness)
            children = self._children(genes, fitness, rng)
            theirs, shown, degree = at.contest(children, partial(self._decode, at), odds)
            genes, fitness = evolution.select(genes, fitness, children, theirs)
        yield Candidate(shown, degree)

    def _children(self, genes: Tensor, fitness: Tensor, rng: Generator) -> Tensor:
        weight = torch.rand(len(genes), 1, 1, generator=rng, device=rng.device).to(genes)
        weight = self.weight + (1 - self.weight) * weight
        children = evolution.mutants(genes, fitness, weight, rng, best=True)
        if self.crossover == 1:
            return children
        taken = torch.rand(genes.shape, generator=rng, device=rng.device) < self.crossover
        return torch.where(taken, children, genes)

    def _decode(self, at: Problem, genes: Tensor) -> Tensor:
        """Inputs whose features lie at that share of the way from -eps to eps."""
        around = at.x.unsqueeze(1)
        change = (2 * genes.view(*genes.shape[:2], *at.x.shape[1:]) - 1) * at.budget.rows(around)
        return at.space.within(around + at.unit * change, around)
