"""AutoAttack (Croce and Hein 2020)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from holdfast.core.goal import Goal
from holdfast.core.kinds import EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget
from holdfast.core.target import Gradients
from holdfast.evasion.attacks.auto_pgd import AutoPGD
from holdfast.evasion.attacks.fab import FAB
from holdfast.evasion.attacks.square import Square
from holdfast.evasion.redraw import Expected, MeanGradient
from holdfast.evasion.stages import follow


@method(cites="croce2020", where="sec. 5; L1: Croce & Hein 2021, sec. 5")
@dataclass(frozen=True)
class AutoAttack(EvasionAttack[Gradients]):
    r"""AutoAttack.

    standard:  APGD-CE, APGD-T on 9 rival classes, FAB-T on 9, Square with 5000 queries
    plus:      APGD-CE x 5, APGD-DLR x 5, FAB x 5, Square, APGD-T, FAB-T
    rand:      APGD-CE and APGD-DLR on gradients averaged over 20 draws, for random defences

    Each part is given only the rows that withstood all parts before it. In L1 the standard version
    starts APGD-CE five times, APGD-T takes 5 classes, and both shrink the ball to eps. Which part
    broke each row, and what each part cost, is in the result. A row that falls leaves at once,
    within parts too, where the authors' code runs every part to its end for the whole batch; the
    verdict is the same.
    """

    measures = ("linf", "l2", "l1")

    version: str = hyper("standard", "sec. 5", choices=("standard", "plus", "rand"))
    steps: int = hyper(100, "sec. 5: of APGD and FAB", low=1)
    queries: int = hyper(5000, "sec. 5: of Square", low=1)
    targets: int = hyper(9, "sec. 5: rival classes of APGD-T and FAB-T", low=1)
    draws: int = hyper(20, "authors' code, eot_iter of the rand version", low=1)

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        rows = torch.arange(len(x), device=x.device)
        if self.version == "rand":
            target = MeanGradient(target, Expected.of(target, x, self.draws, rng))
        for name, part in self.parts(budget.measure):
            if len(rows):
                search = part.run(target, x[rows], goal.take(rows), budget.take(rows), rng)
                rows = yield from follow(search, rows, name)

    def parts(self, measure: str) -> tuple[tuple[str, EvasionAttack[Any]], ...]:
        """The attacks in their order, by name."""
        sparse, plus, usual = measure == "l1", self.version == "plus", self.version == "standard"
        often = 5 if plus or (sparse and usual) else 1
        apgd_ce = ("apgd-ce", AutoPGD(self.steps, "ce", often, shrink=usual))
        apgd_dlr = ("apgd-dlr", AutoPGD(self.steps, "dlr", often, shrink=usual))
        rivals = min(5, self.targets) if sparse and not plus else self.targets
        apgd_t = ("apgd-t", AutoPGD(self.steps, "dlr-targeted", 1, rivals, shrink=usual))
        fab_t = ("fab-t", FAB(self.steps, targets=self.targets))
        square = ("square", Square(self.queries, resc_schedule=False))
        if self.version == "rand":
            return (apgd_ce, apgd_dlr)
        if plus:
            return (apgd_ce, apgd_dlr, ("fab", FAB(self.steps, 5)), square, apgd_t, fab_t)
        return (apgd_ce, apgd_t, fab_t, square)
