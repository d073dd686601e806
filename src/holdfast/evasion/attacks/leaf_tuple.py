"""LeafTuple attack on tree ensembles (Zhang, Zhang and Hsieh 2020)."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.constraints import judge
from holdfast.core.goal import Goal, of_classes
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget
from holdfast.core.target import Trees
from holdfast.ops.rows import take
from holdfast.ops.trees import CLEAR, greedy


@method(cites="zhang2020trees", where="sec. 3")
@dataclass(frozen=True)
class LeafTuple(EvasionAttack[Trees]):
    r"""Tree-ensemble LeafTuple.

    C(x) = (leaf of x in tree 1, ..., leaf of x in tree T); its leaves meet in a box B(C). Greedily,

        C_{t+1} = argmin_{C in N_1(C_t), f(C) reaches the goal} dist(x, B(C))

    where N_1 are the tuples that differ from C_t in one leaf and whose box is not empty, until no
    neighbour is nearer to x. Starts are other rows that hold the goal, and normal noise, both
    bisected towards x.
    """

    measures = ("linf", "l2", "l1")
    minimises = True

    starts: int = hyper(20, "authors' README: num_attack_per_point in the samples", low=1)

    def run(self, target: Trees, x: Tensor, goal: Goal, budget: Budget, rng: Generator) -> Search:
        trees, space, aim = target.ensemble, target.space, of_classes(goal)
        pool, device = x.flatten(1).cpu(), x.device  # trees live in the CPU's memory
        keep = yield Candidate(x, goal.degree(target.answer(x)))
        x, aim = (part.to("cpu") for part in take(keep, x, aim))
        low, high = (
            space.within(torch.full_like(x, end), x).flatten(1) for end in (-torch.inf, torch.inf)
        )
        flat = x.flatten(1)

        def measured(change: Tensor) -> Tensor:
            shaped = change.view(-1, *x.shape[1:])
            return space.distance(shaped, torch.zeros_like(shaped), budget.measure)

        def reached(sums: Tensor, rows: Tensor) -> Tensor:
            ahead: Tensor = aim.take(rows).margin(sums)
            return ahead > CLEAR

        unit = torch.as_tensor(space.scale, dtype=x.dtype).flatten().expand(flat.shape[1])
        best, _ = greedy(
            trees,
            (flat, pool),
            (low, high),
            judge(space, reached, measured),
            unit,
            self.starts,
            rng,
        )
        adv = best.view_as(x)
        yield Candidate(adv.to(device), aim.degree(target.answer(adv)))
