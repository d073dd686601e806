"""Exact evasion of tree ensembles by mixed-integer programming (Kantchelian et al. 2016)."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal, cast

import torch
from torch import Generator, Tensor

from holdfast.core.constraints import Relaxed, judge
from holdfast.core.errors import MissingExtra
from holdfast.core.goal import AwayFrom, Goal, ToClass, of_classes
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Box, Budget
from holdfast.core.target import Trees
from holdfast.ops import balls
from holdfast.ops.rows import take
from holdfast.ops.treeprogram import Forms, cells, solve
from holdfast.ops.trees import CLEAR, greedy


@method(cites="kantchelian2016", where="sec. 4.2", extra="trees")
@dataclass(frozen=True)
class MilpTree(EvasionAttack[Trees]):
    r"""Tree-ensemble exact minimal (MILP).

    p_i = 1 where x'_f <= t_i, one binary per threshold; l_j >= 0, one per leaf. Minimise the
    change, which is linear in p, as every threshold passed adds to a feature's share of it, under

        sum_j l_j = 1 in every tree;  p_i <= p_{i+1} for thresholds t_i < t_{i+1} of one feature
        sum of leaves left of node i <= p_i;  right of it <= 1 - p_i
        sum_j l_j (v_{j, rival} - v_{j, y}) + base >= margin

    with one programme per rival class, or a single one towards the wanted class. A greedy descent
    over leaf tuples gives a first size, beyond which no threshold need be looked at. On a table
    whole numbers have whole cells, and one value of each category is 1. Rows are reported as
    stage "minimal" where the solver proved it, as "time limit" where it did not.
    """

    measures = ("linf", "l1", "l0")
    minimises = True

    seconds: float = hyper(1.0, "ours: for one row and one rival class", low=0)
    starts: int = hyper(20, "ours: as in LeafTuple, whose descent gives a first size", low=1)

    def run(self, target: Trees, x: Tensor, goal: Goal, budget: Budget, rng: Generator) -> Search:
        if find_spec("highspy") is None:
            raise MissingExtra("highspy", "trees")
        trees, space, aim = target.ensemble, target.space, of_classes(goal)
        pool, device = x.flatten(1).cpu(), x.device  # trees live in the CPU's memory
        keep = yield Candidate(x, goal.degree(target.answer(x)))
        x, aim, budget = (part.to("cpu") for part in take(keep, x, aim, budget))
        low, high = (
            space.within(torch.full_like(x, end), x).flatten(1) for end in (-torch.inf, torch.inf)
        )
        flat, measure = x.flatten(1), cast(Literal["linf", "l1", "l0"], budget.measure)
        unit = torch.as_tensor(space.scale, dtype=x.dtype).flatten().expand(flat.shape[1])

        def measured(change: Tensor) -> Tensor:
            shaped = change.view(-1, *x.shape[1:])
            return space.distance(shaped, torch.zeros_like(shaped), measure)

        def reached(sums: Tensor, rows: Tensor) -> Tensor:
            ahead: Tensor = aim.take(rows).margin(sums)
            return ahead > CLEAR

        best, near = greedy(
            trees,
            (flat, pool),
            (low, high),
            judge(space, reached, measured),
            unit,
            self.starts,
            rng,
        )
        near = near.minimum(torch.as_tensor(budget.eps, dtype=near.dtype))
        forms = _forms(space, flat.shape[1])
        proven = torch.ones(len(x), dtype=torch.bool)
        for i, row in enumerate(torch.arange(len(x)).split(1)):
            for wins in _programmes(aim, i, trees.value.shape[1]):
                around = cells(
                    trees, flat[i], (low[i], high[i]), unit, forms, float(near[i]), measure
                )
                found, done = solve(trees, around, wins, self.seconds)
                held = found is None or bool(reached(trees.sums(found), row))
                proven[i] &= done and held  # the solver's rounding may cross a threshold
                if found is not None and held:
                    size = measured(found - flat[row])[0]
                    if size < near[i]:
                        near[i], best[i] = size, found[0]
        adv = best.view_as(x)
        degree = aim.degree(target.answer(adv))
        for stage, wanted in (("minimal", True), ("time limit", False)):
            those = proven == wanted
            shown = torch.where(balls.rows(those, adv) > 0, adv, x)
            keep = yield Candidate(shown.to(device), degree * those, stage=stage)
            x, adv, degree, proven = take(keep, x, adv, degree, proven)


def _forms(space: Box, columns: int) -> Forms:
    """Whole numbers and categories of the space, if it is a table's."""
    whole = torch.zeros(columns, dtype=torch.bool)
    if not isinstance(space, Relaxed):
        return Forms(whole)
    rules = space.strict.rules
    whole = whole if rules.integers is None else rules.integers.clone()
    whole[[column for group in rules.groups for column in group]] = True
    return Forms(whole, rules.groups)


def _programmes(aim: AwayFrom, row: int, classes: int) -> list[list[tuple[int, int]]]:
    """Pairs (winner, loser) that must hold together: any one rival over the label, or the wanted
    class over all others.
    """
    label = int(aim.labels[row])
    others = [k for k in range(classes) if k != label]
    if isinstance(aim, ToClass):
        return [[(label, k) for k in others]]
    return [[(k, label)] for k in others]
