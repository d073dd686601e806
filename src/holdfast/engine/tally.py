"""What each part of a composed attack cost, was given, and found."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from holdfast.engine.ledger import Ledger


@dataclass(frozen=True)
class Cost:
    """Passes of one part, in rows, and how many rows it was given."""

    forwards: int = 0
    backwards: int = 0
    rows: int = 0

    def __add__(self, other: Self) -> Self:
        return type(self)(
            self.forwards + other.forwards, self.backwards + other.backwards, self.rows + other.rows
        )


Costs = Mapping[str, Cost]


def plus(a: Costs, b: Costs) -> dict[str, Cost]:
    """Costs of two runs, part by part, in the order of first use."""
    return {part: a.get(part, Cost()) + b.get(part, Cost()) for part in (*a, *b)}


@dataclass
class Tally:
    """Kept while an attack runs on `n` rows: who made each row's best input, and what it cost."""

    n: int
    stage: list[str] = field(default_factory=list)
    _spent: dict[str, tuple[int, int]] = field(default_factory=dict)
    _given: dict[str, Tensor] = field(default_factory=dict)
    _seen: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        self.stage = [""] * self.n

    def charge(self, stage: str, ledger: Ledger, rows: Tensor | None = None) -> None:
        """All passes since the last call were spent by `stage`, which has now proposed `rows`."""
        forwards, backwards = self._spent.get(stage, (0, 0))
        before, self._seen = self._seen, (ledger.forwards, ledger.backwards)
        self._spent[stage] = (
            forwards + ledger.forwards - before[0], backwards + ledger.backwards - before[1]
        )  # fmt: skip
        if stage and rows is not None:
            given = self._given.setdefault(stage, torch.zeros(self.n, dtype=torch.bool))
            given[rows] = True

    def found(self, stage: str, rows: Tensor) -> None:
        """The best inputs of `rows` are now those of `stage`."""
        if stage:
            for row in rows.tolist():
                self.stage[row] = stage

    def costs(self) -> dict[str, Cost]:
        """Every part's cost; rows are counted for named parts only."""
        none = torch.zeros(1, dtype=torch.bool)
        return {
            part: Cost(f, b, int(self._given.get(part, none).sum()))
            for part, (f, b) in self._spent.items()
        }
