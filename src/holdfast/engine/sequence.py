"""Targeted attacks on recognisers that write strings: speech to text."""

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Generator

from holdfast.core.errors import NotApplicable
from holdfast.core.goal import Transcript, edit_distance
from holdfast.core.kinds import EvasionAttack
from holdfast.core.record import Measurement
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.core.target import Answers
from holdfast.engine.case import Case, Evidence, rate
from holdfast.engine.evasion import attack
from holdfast.ops.ctc import transcripts
from holdfast.ops.rows import Ragged, concat, pick, put


def write(target: Answers[Ragged, Ragged], x: Ragged, run: Run) -> Ragged:
    """Transcripts of all rows, batched, uncounted."""
    parts = [
        target.answer(x.take(rows).to(run.device)).to("cpu")
        for rows in torch.arange(len(x)).split(run.batch_size)
    ]
    return cast(Ragged, concat(parts)) if parts else Ragged(torch.zeros(0, 0).long(), x.length)


def symbol_errors(said: Ragged, meant: Ragged) -> tuple[int, int]:
    """Substitutions, insertions and deletions, and how many symbols there should be."""
    pairs = [(said.row(i).tolist(), meant.row(i).tolist()) for i in range(len(meant))]
    wrong = sum(edit_distance(a, b) for a, b in pairs)
    return wrong, int(meant.length.sum())


def random_transcripts(meant: Ragged, symbols: int, rng: Generator) -> Ragged:
    """A wrong transcript of the same length for every row, without equal neighbours.

    So it needs no more frames than the true one. Symbols are 1 to `symbols`.
    """
    first = torch.randint(symbols, (len(meant), 1), generator=rng)
    steps = torch.randint(1, symbols, meant.data.shape, generator=rng)
    wanted = 1 + (first + steps.cumsum(1)) % symbols
    same = ((wanted == meant.data) | ~meant.mask).all(1, keepdim=True)
    wanted = torch.where(same, 1 + wanted % symbols, wanted)
    return Ragged(wanted * meant.mask, meant.length)


def assess(method: EvasionAttack[Any, Any, Any, Any], case: Case, run: Run) -> Evidence:
    """Share of recordings that can be made to say a random string of the same length, per budget.

    Only rows that are transcribed without error are attacked. Random noise of the same size stands
    beside every budget twice: how often it writes the wanted string, and how often the right one.
    Labels are (N, S) symbols padded with 0, which is also CTC's blank.
    """
    target, data = cast(Answers[Ragged, Ragged], case.target), case.test
    if not isinstance(data.x, Ragged) or len(data.classes) < 4:
        raise NotApplicable("needs recordings and at least three symbols beside the blank")
    measure, budgets = case.budgets(method.measures)
    meant, here = transcripts(data.y), replace(run, device=torch.device("cpu"))
    said = write(target, data.x, run)
    right = (Transcript(meant).degree(said) >= 1) & (meant.length > 0)
    rows = right.nonzero().flatten()
    x, truth = data.x.take(rows), meant.take(rows)
    goal = Transcript(random_transcripts(truth, len(data.classes) - 1, here.generator("wanted")))
    radius, best = torch.full((len(rows),), torch.inf), x
    wrong, symbols = symbol_errors(said, meant)
    measurements = [
        rate("clean accuracy", right),
        Measurement("symbol error rate", wrong / max(1, symbols), symbols),
    ]
    forwards = backwards = 0
    for eps in budgets:
        part, budget = f"eps={eps:g}", Budget(measure, eps)
        left = radius.isinf().nonzero().flatten()
        got = attack(method, target, x.take(left), goal.take(left), budget, run)
        won = got.success.nonzero().flatten()
        radius[left[won]] = eps
        best = put(best, left[won], pick(got.x, won))
        forwards, backwards = forwards + got.forwards, backwards + got.backwards
        noise = target.space.random(x, budget, here.generator("control", eps))
        noisy = write(target, noise, run)
        by_chance = goal.degree(noisy) >= goal.threshold
        kept = Transcript(truth).degree(noisy) >= 1
        measurements += [
            rate("robust accuracy", int((radius > eps).sum()), len(data), part),
            rate("targets reached", radius <= eps, part=part),
            rate("targets reached by random noise", by_chance, part=part),
            rate("accuracy under random noise", int(kept.sum()), len(data), part),
        ]
    shown = radius.isfinite().nonzero().flatten()[:8]
    tensors = {
        "clean": x.take(shown).data, "adversarial": best.take(shown).data,
        "labels": goal.take(shown).wanted.data, "radius": radius,
        "answers": write(target, best.take(shown), run).data,
    }  # fmt: skip
    notes = (
        "wanted strings are random and as long as the true ones; "
        "a row counts as fallen only when exactly its string is written",
        "digital only: sounds were not played and recorded",
    )
    return Evidence(tuple(measurements), tensors, len(rows), forwards, backwards, notes)
