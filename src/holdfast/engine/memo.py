"""What an interrupted attack had finished: names for its batches, and batches as plain tensors."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import astuple
from typing import Any

import torch
from torch import Tensor

from holdfast.core.goal import Goal
from holdfast.core.method import Method
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.tally import Cost, Costs
from holdfast.ops.rows import Items, Ragged


def name(
    method: Method, clean: Items, goal: Goal[Any, Any], budget: Budget, run: Run, start: int
) -> str:
    """sha256 of all that decides what attacking this batch gives, but for the model and the code.

    A memo is kept for one model and one version of the code, so these need not be told apart.
    """
    told = hashlib.sha256()
    facts = (type(method).__name__, sorted(method.params.items()), budget.measure, start)
    told.update(repr((facts, type(goal).__name__, run.seed, run.queries)).encode())
    aims = [v for v in vars(goal).values() if isinstance(v, Tensor | Ragged)]
    for each in (clean, torch.as_tensor(budget.eps), *aims):
        for part in (each.data, each.length) if isinstance(each, Ragged) else (each,):
            told.update(repr((part.dtype, tuple(part.shape))).encode())
            told.update(part.detach().cpu().contiguous().numpy().tobytes())
    return told.hexdigest()


def pack(best: Items, stages: list[str], spent: Costs) -> Mapping[str, Tensor]:
    """A finished batch as tensors: inputs, and as JSON text which part found and cost what."""
    costs = {part: astuple(cost) for part, cost in spent.items()}
    text = json.dumps({"stages": stages, "spent": costs}).encode()
    told = {"text": torch.tensor(list(text), dtype=torch.uint8)}
    if isinstance(best, Ragged):
        return {**told, "x": best.data, "length": best.length}
    return {**told, "x": best}


def unpack(
    kept: Mapping[str, Tensor],
) -> tuple[Any, list[str], Costs]:
    """What `pack` was given; Any, as the caller knows whether its rows are ragged."""
    told = json.loads(bytes(kept["text"].tolist()))
    best = Ragged(kept["x"], kept["length"]) if "length" in kept else kept["x"]
    return best, told["stages"], {part: Cost(*cost) for part, cost in told["spent"].items()}
