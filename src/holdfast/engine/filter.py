"""Judge an output filter: what it costs, and what attacks that meet it still learn."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch

from holdfast.core.errors import NeedsError, NotApplicable
from holdfast.core.kinds import OutputFilter
from holdfast.core.recipe import Background
from holdfast.core.record import Measurement
from holdfast.core.run import Run
from holdfast.core.target import Scores
from holdfast.engine.case import Case, Evidence, rate
from holdfast.engine.evasion import answers
from holdfast.engine.extraction import on_cpu, steal
from holdfast.engine.lookup import registered
from holdfast.engine.measure import InBatches
from holdfast.engine.membership import auc, score
from holdfast.ops.stats import mean_interval
from holdfast.targets.wrappers import Filtered

MEMBERSHIP = "privacy/loss_threshold"
COPIES = {"extraction/equation_solving": {}, "extraction/copycat": {"queries": 300}}
"""Extraction attacks that are tried, by id: one that reads scores, one that needs labels only."""


def assess(method: OutputFilter, case: Case, run: Run) -> Evidence:
    """Accuracy, membership and extraction, each without the filter and with it.

    An attack that cannot be run on this model is left out, and the notes say why.
    """
    if not isinstance(case.target, Scores):
        raise NeedsError("needs scores to filter, which the target does not give")
    case.rows()
    attacks = {id_: registered(id_)(**params) for id_, params in COPIES.items()}
    reader = registered(MEMBERSHIP)()
    filtered = Filtered(cast(Any, case.target), method, run)
    found, notes, forwards = _cost(filtered, case, run), [], 0
    targets: list[tuple[str, Any]] = [("", filtered), (" (undefended)", case.target)]
    for i, (suffix, target) in enumerate(targets):
        member = partial(_membership, reader, replace(case, target=target), suffix, run)
        tries: dict[str, Callable[[], tuple[Measurement, int]]] = {MEMBERSHIP: member}
        for id_, attack in attacks.items():
            tries[id_] = partial(_copy, id_, attack, target, case, suffix, run)
        for id_, attempt in tries.items():
            try:
                measured, spent = attempt()
            except NotApplicable as reason:
                notes.append(f"{id_} was not tried: {reason}")
            else:
                found.append(measured)
                forwards += spent
        run.progress(i + 1, len(targets))
    notes.append("a filter that keeps the answer cannot stop attacks that need the answer alone")
    return Evidence(tuple(found), {}, len(case.test), forwards, 0, tuple(dict.fromkeys(notes)))


def _cost(filtered: Filtered, case: Case, run: Run) -> list[Measurement]:
    """What an honest caller loses."""
    bare = filtered.target
    before, after = answers(bare, case.test.x, run), answers(filtered, case.test.x, run)
    honest, told = (
        InBatches(target, run).scores(case.test.tensor).double().softmax(1)
        for target in (bare, filtered)
    )
    change = (honest - told).abs().sum(1)
    low, high = mean_interval(change.numpy())
    n = len(change)
    return [
        rate("clean accuracy", after == case.test.y),
        rate("clean accuracy (undefended)", before == case.test.y),
        rate("changed answers", before != after),
        Measurement(
            "mean change of the probabilities",
            float(change.mean()),
            n,
            max(0.0, low),
            min(2.0, high),
        ),
    ]


def _membership(attack: Any, case: Case, suffix: str, run: Run) -> tuple[Measurement, int]:
    """How well the loss tells members, as far as the filter lets it through."""
    drawn, scores, ledger = score(attack, case, run)
    n = drawn.members
    return auc(f"area under the curve{suffix}", scores[:n], scores[n:]), ledger.forwards


def _copy(
    id_: str, attack: Any, target: Any, case: Case, suffix: str, run: Run
) -> tuple[Measurement, int]:
    """Agreement of the attack's last copy, on rows it never asked about."""
    order = run.order(len(case.test), "filter")
    pool, judged = (case.test.take(half) for half in order.tensor_split(2))
    pool = pool.with_rows(pool.x, torch.zeros_like(pool.y))
    copies, ledger = steal(attack, target, pool, Background(case.recipe), run)
    said = answers(copies[-1].copy, judged.x, on_cpu(run))
    same = answers(target, judged.x, run) == said
    name = id_.removeprefix("extraction/").replace("_", " ")
    return rate(f"agreement of {name}{suffix}", same), ledger.forwards
