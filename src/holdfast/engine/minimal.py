"""The smallest change with an attack that only knows budgets: each row's own bisection."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from holdfast.core.goal import Goal
from holdfast.core.kinds import EvasionAttack
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.core.target import Answers
from holdfast.engine.evasion import Attacked, attack
from holdfast.ops.rows import put

TIGHT, BACK = 0.003, 0.1
"""Once its two bounds are this near, a row's lower one is taken back to this much below the upper."""


def smallest(
    method: EvasionAttack[Any], target: Answers[Any], x: Tensor, goal: Goal[Any, Any],
    first: Budget, run: Run, rounds: int = 10,
) -> Attacked:  # fmt: skip
    """Run a fixed-budget attack `rounds` times, each row at a budget of its own.

    A row's budget is doubled until it falls; from then on the middle is taken between the largest
    budget at which it stood and the smallest change that was found. That it stood is no proof:
    where both are close, smaller budgets are tried again, with other random starts.

    With `run.queries`, a round may spend an equal share of it. What a row saves as it falls early
    pays for further rounds: it goes on until less than a share is left.

    Args:
        method: any attack that takes budgets.
        target: the model.
        x: (N, ...) clean inputs.
        goal: what the attacker wants.
        first: the budgets of the first round.
        run: seed, batches, and allowance for all rounds together, their judgements included.
        rounds: how many budgets each row gets at least.

    Returns:
        The nearest inputs found and the passes of all rounds; distance is infinite where none was.
    """
    best, low, degree = x.clone(), torch.zeros(len(x)), torch.zeros(len(x))
    high, eps = torch.full((len(x),), torch.inf), torch.as_tensor(first.eps).expand(len(x)).clone()
    share = max(2, run.queries // rounds) if run.queries is not None else None
    left = torch.full((len(x),), float(rounds if run.queries is None else run.queries))
    forwards = backwards = turn = 0
    while len(live := (left >= (share or 1)).nonzero().flatten()):
        allowed = None if share is None else share - 1  # the engine's judgement is one
        at = replace(run, seed=run.seed + turn, queries=allowed)  # other random starts each time
        got = attack(method, target, x[live], goal.take(live), replace(first, eps=eps[live]), at)
        forwards, backwards, turn = forwards + got.forwards, backwards + got.backwards, turn + 1
        left[live] -= 1 if share is None else _spent(got, share)
        won = got.success & (got.distance < high[live])
        rows = live[won]
        best, high = put(best, rows, got.x[won]), put(high, rows, got.distance[won])
        degree = put(degree, rows, got.degree[won])
        stood = live[~got.success]
        low[stood] = torch.maximum(low, eps)[stood]
        low = torch.where(high - low < TIGHT * high, (1 - BACK) * high, low)
        eps = torch.where(high.isinf(), 2 * eps, (low + high) / 2)
    return Attacked(best, degree, high.isfinite(), high, forwards, backwards)


def _spent(got: Attacked, share: int) -> Tensor:
    """(N,) passes of every row in one round: all of its share where it stood, the rest evenly."""
    fell = int(got.success.sum())
    rest = got.forwards + got.backwards - (len(got.success) - fell) * (share - 1)
    return torch.where(got.success, 1 + max(0, rest) / max(1, fell), float(share))
