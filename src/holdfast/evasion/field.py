"""The rows of an attack that pools them: who stands, how near to falling, and which rivals to try."""

from collections.abc import Generator as Yields
from typing import Any, cast

import torch
from torch import Generator, Tensor

from holdfast.core.goal import AwayFrom, ToClass
from holdfast.core.kinds import Candidate, EvasionAttack
from holdfast.core.space import Box, Budget
from holdfast.core.target import Gradients
from holdfast.evasion.attacks.auto_pgd import AutoPGD
from holdfast.evasion.stages import Watched, follow
from holdfast.ops import balls, losses

LEAST = 10
"""Rows that a share stands for at least."""


class Field:
    """All rows of an attack: which stand, their largest margins so far, and their rivals in order."""

    def __init__(
        self,
        target: Gradients,
        x: Tensor,
        aim: AwayFrom,
        budget: Budget,
        rng: Generator,
        batch: int,
    ) -> None:
        self.target, self.x, self.aim, self.budget = Watched(target), x, aim, budget
        self.rng, self.batch = rng, batch
        self.margin = torch.full((len(x),), -torch.inf, device=x.device)
        self.stands = torch.ones(len(x), dtype=torch.bool, device=x.device)
        self.rivals: Tensor | None = None

    def standing(self, rows: Tensor | None = None) -> Tensor:
        """Which of `rows`, or of all, no part has broken."""
        return self.stands.nonzero().flatten() if rows is None else rows[self.stands[rows]]

    def nearest(self, count: float) -> Tensor:
        """The standing rows with the largest margins."""
        rows = self.standing()
        return rows[self.margin[rows].argsort(descending=True)[: max(LEAST, round(count))]]

    def each(
        self, rows: Tensor, stage: str, attack: EvasionAttack[Any], rivals: int = 0
    ) -> Yields[Candidate, Tensor | None, None]:
        """Attack the rows batch by batch; an APGD goes after that many of each row's rivals."""
        for part in rows.split(self.batch) if len(rows) else ():
            case = (self.target, self.x[part], self.aim.take(part), self.budget.take(part))
            if isinstance(attack, AutoPGD) and rivals:
                wanted = None if self.rivals is None else self.rivals[part, :rivals]
                search = attack.chase(*case, wanted, self.rng)
            else:
                search = attack.run(*case, self.rng)
            inner, keep = follow(search, part, stage, pooled=True), None
            try:
                while True:
                    candidate = inner.send(keep)
                    at = cast(Tensor, candidate.rows)
                    raw = self.target.raw
                    if len(raw) == len(at):  # some attacks try several proposals in one pass
                        margin = self.aim.take(at).margin(raw).float().nan_to_num(-torch.inf)
                        self.margin[at] = torch.maximum(self.margin[at], margin)
                    keep = yield candidate
            except StopIteration as end:
                self.stands[part] = torch.isin(part, end.value)

    def rank(self, count: int) -> None:
        """The most promising rivals of every standing row, first ones first."""
        if isinstance(self.aim, ToClass) or not len(self.x):
            return
        box, found = cast(Box, self.target.space), []
        for rows in self.standing().split(self.batch):
            labels, eps = self.aim.labels[rows], self.budget.take(rows).rows(self.x[rows]).flatten()

            def gaps(raw: Tensor, labels: Tensor = labels) -> Tensor:
                others = losses.rivals(raw, labels, count)
                return raw.gather(1, others) - raw.gather(1, labels.view(-1, 1))

            seen = self.target.gradient(self.x[rows], gaps)
            slopes = box.scaled(seen.wrt_input).flatten(0, 1)
            steep = balls.size(slopes, balls.DUAL[self.budget.norm]).view(len(rows), -1)
            best = (gaps(seen.raw) + eps.view(-1, 1) * steep).argsort(1, descending=True)
            found.append(losses.rivals(seen.raw, labels, count).gather(1, best))
        if found:
            width = found[0].shape[1]
            self.rivals = self.aim.labels.new_zeros(len(self.x), width)
            self.rivals[self.standing()] = torch.cat(found)
