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


def smallest(
    method: EvasionAttack[Any], target: Answers[Any], x: Tensor, goal: Goal[Any, Any],
    first: Budget, run: Run, rounds: int = 10,
) -> Attacked:  # fmt: skip
    """Run a fixed-budget attack `rounds` times, each row at a budget of its own.

    A row's budget is doubled until it falls; from then on the middle is taken between the largest
    budget at which it stood and the smallest change that was found. `run.queries` bounds the passes
    of each round.

    Args:
        method: any attack that takes budgets.
        target: the model.
        x: (N, ...) clean inputs.
        goal: what the attacker wants.
        first: the budgets of the first round.
        run: seed, batches and allowance.
        rounds: how many budgets each row gets.

    Returns:
        The nearest inputs found and the passes of all rounds; distance is infinite where none was.
    """
    best, low = x.clone(), torch.zeros(len(x))
    high, eps = torch.full((len(x),), torch.inf), torch.as_tensor(first.eps).expand(len(x))
    degree, forwards, backwards = torch.zeros(len(x)), 0, 0
    for turn in range(rounds):
        at = replace(run, seed=run.seed + turn)  # other random starts each time
        got = attack(method, target, x, goal, replace(first, eps=eps), at)
        forwards, backwards = forwards + got.forwards, backwards + got.backwards
        won = (got.success & (got.distance < high)).nonzero().flatten()
        best, high = put(best, won, got.x[won]), put(high, won, got.distance[won])
        degree = put(degree, won, got.degree[won])
        low = torch.where(got.success, low, torch.maximum(low, eps))
        eps = torch.where(high.isinf(), 2 * eps, (low + high) / 2)
    return Attacked(best, degree, high.isfinite(), high, forwards, backwards)
