"""Run any metric: the model's clean accuracy first, then what the metric yields."""

from typing import Any

import torch
from torch import Tensor

from holdfast.core.kinds import Metric
from holdfast.core.record import Measurement
from holdfast.core.run import Run
from holdfast.core.target import Answers
from holdfast.engine.case import Case, Evidence, rate
from holdfast.engine.evasion import answers
from holdfast.engine.ledger import Ledger, view
from holdfast.ops.rows import concat, pick

TOO_FEW = "rows too few to judge"


def too_few(part: str, n: int) -> Measurement:
    """What a metric yields instead of a rate that `n` rows cannot support; it becomes a note."""
    return Measurement(TOO_FEW, float(n), n, part=part)


class InBatches:
    """A view of a target that answers any number of rows, a batch at a time."""

    def __init__(self, target: Any, run: Run) -> None:
        self._target, self._run = target, run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def answer(self, x: Any) -> Any:
        """Answers to all rows, on the CPU."""
        return self._all(self._target.answer, x)

    def scores(self, x: Any) -> Any:
        """Scores of all rows, on the CPU."""
        return self._all(self._target.scores, x)

    def _all(self, ask: Any, x: Any) -> Any:
        parts = [
            ask(pick(x, index).to(self._run.device)).to("cpu")
            for index in torch.arange(len(x)).split(self._run.batch_size)
        ]
        return concat(parts)


def assess(method: Metric[Any], case: Case, run: Run) -> Evidence:
    """Measure on the held-out rows; rates of too few rows are named in the notes."""
    ledger, data = Ledger(), case.test
    seen = view(method, case.target, ledger)
    target = InBatches(seen, run) if seen is not None else None
    measurements: list[Measurement] = []
    if isinstance(case.target, Answers) and data.y.ndim == 1 and isinstance(data.x, Tensor):
        measurements.append(
            rate("clean accuracy", answers(case.target, data.tensor, run) == data.y)
        )
    measurements += method.measure(target, data, run.generator("measure"))
    run.progress(len(data), len(data))
    notes = tuple(
        f"{m.part}: {m.n} rows are too few for a rate, left out"
        for m in measurements
        if m.name == TOO_FEW
    )
    kept = tuple(m for m in measurements if m.name != TOO_FEW)
    return Evidence(kept, {}, len(data), ledger.forwards, ledger.backwards, notes)
