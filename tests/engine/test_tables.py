"""Candidates on tables are made valid, asked again where that changed them, and keep their rows."""

from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.core.constraints import Table
from holdfast.core.goal import AwayFrom
from holdfast.core.kinds import Candidate, EvasionAttack
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.core.target import Answers
from holdfast.engine.evasion import attack
from tests.toys import LinearTarget

SPACE = Table.of(["n", "m"], Box(torch.zeros(2), torch.full((2,), 9.0)), integers=["n", "m"])


def target() -> LinearTarget:
    """Class 1 where n + m > 6.5."""
    w = torch.ones(2, 1)
    return LinearTarget(torch.cat([-w, w], 1), torch.tensor([6.5, -6.5]), SPACE)


@dataclass(frozen=True)
class Liar(EvasionAttack[Answers]):
    """Says that points between whole numbers are reached, one row after the other."""

    pools = True
    measures = ("linf",)

    def run(self, target, x: Tensor, goal, budget, rng):
        assert target.space is SPACE.relaxed
        for i in (2, 0, 1):
            row = torch.tensor([i])
            yield Candidate(x[row] + 1.9, torch.ones(1), rows=row)


@dataclass(frozen=True)
class Honest(EvasionAttack[Answers]):
    """Goes up by 1.2 in each of three steps; rows that are done are dropped."""

    measures = ("linf",)

    def run(self, target, x: Tensor, goal, budget, rng):
        for step in (1.2, 2.4, 3.6):
            adv = x + step
            keep = yield Candidate(adv, goal.degree(target.answer(adv)))
            if keep is not None:
                x, goal = x[keep], goal.take(keep)


def test_rows_that_an_attack_names_are_made_valid_around_themselves() -> None:
    x = torch.tensor([[3.0, 3], [2, 2], [0, 0]])
    got = attack(Liar(), target(), x, AwayFrom(torch.zeros(3).long()), Budget("linf", 9.0), Run())
    assert got.success.tolist() == [True, False, False]
    assert got.x[0].tolist() == [4, 4]
    assert got.forwards == 3


def test_what_is_done_among_valid_rows_decides_who_leaves() -> None:
    """3 + 1.2 is 4 and done; 2 + 1.2 would be done at 3.2 + 3.2 > 6.5 soon, but is at 3 + 3 not."""
    x = torch.tensor([[2.0, 2.2]]).floor().repeat(2, 1) + torch.tensor([[1.0], [0.0]])
    got = attack(Honest(), target(), x, AwayFrom(torch.zeros(2).long()), Budget("linf", 9.0), Run())
    assert got.success.all()
    assert got.x.tolist() == [[4, 4], [4, 4]]
    assert got.forwards == 2 * 2 + 2 * 1  # two rows, then one; each asked again as a valid row
