"""Rows with a starting point beyond the boundary, for tests of decision-based attacks."""

import torch
from torch import Tensor

from holdfast.core.goal import AwayFrom
from holdfast.core.space import Budget, Measure
from holdfast.evasion.decisions import Hunt, begin
from tests.toys import LinearTarget


def hunt_on(target: LinearTarget, x: Tensor, measure: Measure = "l2", seed: int = 0) -> Hunt:
    """What an attack away from the model's own answers works with after its first yield."""
    goal, budget = AwayFrom(target.answer(x)), Budget(measure, torch.inf)
    flow = begin(target, x, goal, budget, torch.Generator().manual_seed(seed))
    next(flow)
    try:
        flow.send(None)
    except StopIteration as done:
        hunt: Hunt = done.value
        return hunt
    raise AssertionError("the start yields once")


def outward(target: LinearTarget, x: Tensor) -> Tensor:
    """(N, D) unit normals of a two-class boundary, pointing to the other class."""
    slope = target.weight[:, 1] - target.weight[:, 0]
    sign = 1 - 2 * target.answer(x).float()
    return sign.view(-1, 1) * slope / slope.norm()
