"""AutoAttack's verdict at a fraction of its passes."""

from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from holdfast.core.goal import Goal, of_classes
from holdfast.core.kinds import EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget
from holdfast.core.target import Gradients
from holdfast.evasion.attacks.auto_attack import AutoAttack
from holdfast.evasion.attacks.auto_pgd import AutoPGD
from holdfast.evasion.attacks.fab import FAB
from holdfast.evasion.attacks.square import Square
from holdfast.evasion.field import LEAST, Field


@method(cites="melamed2024", where="rivals by eq. 3; the verdict is Croce & Hein 2020, sec. 5")
@dataclass(frozen=True)
class FastVerdict(EvasionAttack[Gradients]):
    r"""Fast verdict: AutoAttack's at a fraction of its passes.

    margin:  a short APGD on DLR, every row
    rivals:  a short APGD-T after the first rival, every row that stands. Rivals are ranked by
             z_r - z_y + eps |grad (z_r - z_y)|_dual, the linearised margin at the ball's surface
    nearer:  three rivals and more steps for those of the rows with the largest margins so far
             that make up a quarter, then a tenth of all rows
    deep:    for the last few the full APGD on cross-entropy and after three rivals, then Square
             with a fifth of its queries, and with all where those broke a row
    audit:   rivals, FAB and Square for a random share of the rows that were given up. How many
             fall is the rate of false discards. If one does, margins mislead, as masked gradients
             do, and everything that stands goes through AutoAttack.

    In L1, where an APGD has two phases, the short ones are 2.5 times as long, and the first is on
    cross-entropy. Rows leave as soon as they fall, and those that stand are put into full batches again.
    """

    measures = ("linf", "l2", "l1")
    pools = True

    steps: int = hyper(10, "ours: of the short stages; more found no more", low=1)
    deep: float = hyper(0.04, "ours: of all rows, for Square; half as many again before it", low=0)
    audit: float = hyper(0.01, "ours: ten rows at least", low=0, high=1)
    queries: int = hyper(5000, "AutoAttack: of Square; a fifth in the audit", low=1)
    targets: int = hyper(9, "AutoAttack: rivals, in the audit and after it", low=1)
    batch: int = hyper(256, "ours: rows in one pass", low=1)

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        f, n = Field(target, x, of_classes(goal), budget, rng, self.batch), len(x)
        sparse = budget.measure == "l1"
        short, loss, more = (5 * self.steps // 2, "ce", 1) if sparse else (self.steps, "dlr", 2)
        yield from f.each(f.standing(), "margin", AutoPGD(short, loss))
        f.rank(self.targets)
        yield from f.each(f.standing(), "rivals", AutoPGD(short, "dlr-targeted"), 1)
        for share, steps in ((0.25, more * short), (0.1, 2 * more * short)):
            yield from f.each(f.nearest(share * n), "nearer", AutoPGD(steps, "dlr-targeted"), 3)
        near = f.nearest(1.5 * self.deep * n)
        yield from f.each(near, "deep apgd-ce", AutoPGD(100, "ce"))
        yield from f.each(f.standing(near), "deep apgd-t", AutoPGD(100, "dlr-targeted"), 3)
        square = Square(self.queries, resc_schedule=False)
        few = replace(square, steps=max(1, self.queries // 5))
        last = f.nearest(self.deep * n)
        yield from f.each(last, "deep square", few)
        if len(f.standing(last)) < len(last):
            yield from f.each(f.standing(last), "deep square", square)
        given_up = f.standing()[~torch.isin(f.standing(), torch.cat([near, last]))]
        order = torch.randperm(len(given_up), generator=rng, device=x.device)
        sample = given_up[order[: max(LEAST, round(self.audit * len(given_up)))]]
        for part in (AutoPGD(2 * short, "dlr-targeted"), FAB(targets=3), few):
            yield from f.each(f.standing(sample), "audit", part, self.targets)
        if len(f.standing(sample)) < len(sample):
            everything = AutoAttack(queries=self.queries, targets=self.targets)
            yield from f.each(f.standing(), "auto_attack", everything)
