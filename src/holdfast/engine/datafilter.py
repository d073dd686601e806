"""Judge a filter of training data on data that is known to be poisoned, and on data that is not."""

from typing import Any

import torch
from torch import Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError
from holdfast.core.kinds import DataFilter
from holdfast.core.record import Measurement
from holdfast.core.run import Run
from holdfast.engine.backdoor import dead, judged, plant, trained, usual_attack
from holdfast.engine.case import Case, Evidence, on, rate
from holdfast.engine.ledger import Ledger, view

RATES = (0.05, 0.1)
"""The usual share of poisoned rows, and one by which an attacker evades tests of relative size."""


def suspects(
    method: DataFilter[Any], target: object, data: Dataset, run: Run, ledger: Ledger
) -> Tensor:
    """(N,) Boolean: rows that the filter would remove. It sees the model and the data alone."""
    flagged = method.suspect(view(method, target, ledger), data, run.generator("filter")).cpu()
    if flagged.shape != data.y.shape[:1] or flagged.dtype != torch.bool:
        raise InputError(
            "a data filter must answer one Boolean per row", got=tuple(flagged.shape),
            fix="return a Boolean tensor (N,)",
        )  # fmt: skip
    return flagged


def assess(method: DataFilter[Any], case: Case, run: Run) -> Evidence:
    """Recall and precision on planted rows, and attack success before and after a new training.

    Controls: the rows that the filter would take from clean data, and a heavier poisoning by an
    attacker who knows that filters look for few rows.
    """
    recipe, data, test = case.any_recipe(), on(case.members(), run), case.test
    attack, ledger = usual_attack(), Ledger()
    steps, done = len(RATES) + 2, 0
    found, notes = list[Measurement](), list[str]()
    for share in RATES:
        planted = plant(attack, data, recipe, run, share)
        suspicious = planted.poisoned.data
        flagged = suspects(method, planted.victim, suspicious, run, ledger)
        bad = torch.zeros(len(data), dtype=torch.bool)
        bad[planted.poisoned.rows.cpu()] = True
        caught, part = int((flagged & bad).sum()), f"rate={share:g}"
        found.append(rate("recall of planted rows", caught, int(bad.sum()), part))
        if flagged.any():
            found.append(rate("precision", caught, int(flagged.sum()), part))
        else:
            notes.append(f"no row was flagged at {part}, so precision is not defined")
        done += 1
        run.progress(done, steps)
        if share == RATES[0]:
            found += judged(planted.victim, attack, test, run, "before")
            notes += dead(found, "before")
            kept = suspicious.take((~flagged).nonzero().flatten())
            again = trained(recipe, kept, run, "victim")
            found += judged(again, attack, test, run, "after")
            done += 1
            run.progress(done, steps)
    clean = trained(recipe, data, run, "victim")
    wrongly = suspects(method, clean, data, run, ledger)
    found.append(rate("false alarms on clean data", wrongly))
    run.progress(steps, steps)
    notes.append("judged by one victim per rate of one patch attack")
    return Evidence(tuple(found), {}, len(data), ledger.forwards, ledger.backwards, tuple(notes))
