"""Decision tree attack (Papernot et al. 2016)."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.constraints import judge
from holdfast.core.errors import NotApplicable
from holdfast.core.goal import Goal, of_classes
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import method
from holdfast.core.space import Budget
from holdfast.core.target import Trees
from holdfast.ops.rows import take
from holdfast.ops.trees import CLEAR, climbs, reach


@method(cites="papernot2016transfer", where="alg. 2")
@dataclass(frozen=True)
class DecisionTreeAttack(EvasionAttack[Trees]):
    r"""Decision tree attack.

    From the leaf that x ends in, climb until a leaf of another class lies below; go down to it:

        leaf' = argmin_{leaf : class(leaf) reaches the goal} climb(leaf(x), leaf)
        x'    = nearest point to x of the box of leaf'

    Of leaves that are equally near in the tree the one with the smallest change is taken. Only the
    features asked for on the way down move, each just beyond its threshold. It needs a single
    tree, and is not the smallest change: the tree's own order says which leaf is near.
    """

    measures = ("linf", "l2", "l1", "l0")
    minimises = True

    def run(self, target: Trees, x: Tensor, goal: Goal, budget: Budget, rng: Generator) -> Search:
        trees, space, aim = target.ensemble, target.space, of_classes(goal)
        if len(trees.roots) != 1:
            raise NotApplicable(f"walks through one tree; the model adds up {len(trees.roots)}")
        keep = yield Candidate(x, goal.degree(target.answer(x)))
        device = x.device
        x, aim = (part.to("cpu") for part in take(keep, x, aim))  # trees live in the CPU's memory
        low, high = (
            space.within(torch.full_like(x, end), x).flatten(1) for end in (-torch.inf, torch.inf)
        )
        flat = x.flatten(1)

        def measured(change: Tensor) -> Tensor:
            shaped = change.view(-1, *x.shape[1:])
            return space.distance(shaped, torch.zeros_like(shaped), budget.measure)

        at, count = trees.place[trees.leaves(flat)[:, 0]], len(trees.leaf)
        sums = (trees.base + trees.value[trees.leaf]).repeat(len(x), 1)

        def reached(sums: Tensor, rows: Tensor) -> Tensor:
            ahead: Tensor = aim.take(rows).margin(sums)
            return ahead > CLEAR

        wrong = reached(sums, torch.arange(len(x)).repeat_interleave(count)).view(len(x), count)
        valid = judge(space, reached, measured)
        sizes = reach(trees, flat, (low, high), valid).masked_fill(~wrong, torch.inf)
        climb = climbs(trees, at).masked_fill(sizes.isinf(), count + 1)
        first = climb == climb.amin(1, keepdim=True)
        leaf = sizes.masked_fill(~first, torch.inf).argmin(1)
        low, high = torch.maximum(low, trees.low[leaf]), torch.minimum(high, trees.high[leaf])
        found = sizes.gather(1, leaf.unsqueeze(1)).isfinite()  # else no leaf can be reached
        adv = torch.where(found, valid.nearest(flat, low, high)[0], flat).view_as(x)
        yield Candidate(adv.to(device), aim.degree(target.answer(adv)))
