"""Label flipping (Biggio, Nelson and Laskov 2011)."""

from dataclasses import dataclass

import torch
from torch import Generator

from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError
from holdfast.core.kinds import Aim, Poisoned, PoisoningAttack
from holdfast.core.method import method
from holdfast.core.target import Nothing


@method(cites="biggio2011", where="random label flips")
@dataclass(frozen=True)
class LabelFlip(PoisoningAttack[Nothing]):
    """Label flipping.

    round(rate * N) rows, drawn without replacement, get a wrong label: `aim.wanted`, or where that
    is None one drawn evenly from the other classes. `aim.source` restricts the draw to its rows.
    """

    def poison(self, surrogate: Nothing, data: Dataset, aim: Aim, rng: Generator) -> Poisoned:
        count = round(aim.rate * len(data))
        may = torch.ones_like(data.y, dtype=torch.bool)
        if aim.wanted is not None:
            may &= data.y != aim.wanted
        if aim.source is not None:
            may &= data.y == aim.source
        rows = may.nonzero().flatten()
        if len(data.classes) < 2 or count > len(rows):
            raise InputError(
                f"flipping {count} labels", got=f"{len(rows)} rows to choose from",
                fix="lower the rate",
            )  # fmt: skip
        rows = rows[torch.randperm(len(rows), generator=rng, device=rng.device).to(rows.device)]
        rows = rows[:count]
        y = data.y.clone()
        if aim.wanted is not None:
            y[rows] = aim.wanted
        else:  # a step of 1 to K - 1 around the circle of classes never ends where it began
            step = torch.randint(
                1, len(data.classes), (count,), generator=rng, device=rng.device
            ).to(y.device)
            y[rows] = (y[rows] + step) % len(data.classes)
        return Poisoned(data.with_rows(data.x, y), rows.sort().values)
