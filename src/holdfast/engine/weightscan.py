"""Scan the given model for a trojan, beside models that certainly have one and certainly have none."""

from dataclasses import replace
from typing import Any

import torch

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import Suspicion, WeightScan
from holdfast.core.record import Measurement
from holdfast.core.run import Run
from holdfast.engine.backdoor import DEAD, WANTED, fired, plant, trained, usual_attack
from holdfast.engine.case import Case, Evidence, on
from holdfast.engine.ledger import Ledger, view

ROWS = 100
"""Clean rows that the defender has."""
SHOWN = 50
"""What was recovered is kept for pictures where there are no more classes than this."""


def scan(
    method: WeightScan[Any], target: object, clean: Dataset, run: Run, ledger: Ledger
) -> Suspicion:
    """Suspicion of each class. The scan sees the model and the clean rows alone."""
    return method.scan(view(method, target, ledger), clean, run.generator("scan"))


def assess(method: WeightScan[Any], case: Case, run: Run) -> Evidence:
    """Anomaly of the most suspicious class of the given model.

    Controls, where the recipe and the training rows are known: a copy with a planted patch, which
    the scan ought to see; one whose patch covers a quarter of the image, by an attacker who knows
    that scans look for small ones; and a copy trained without any.
    """
    count, ledger = min(ROWS, len(case.test) // 2), Ledger()
    clean = on(case.test.first(count), run)
    rest = case.test.take(torch.arange(count, len(case.test)))  # the scan never sees these
    steps = 4 if case.recipe is not None and case.train is not None else 1
    got = scan(method, case.target, clean, run, ledger)
    run.progress(1, steps)
    worst, n = int(got.index.argmax()), len(clean)
    found = [
        Measurement("anomaly index", float(got.index.max()), n),
        Measurement("anomaly index", float(got.index.max()), n, part=f"class={worst}"),
        Measurement("suspicious classes", float((got.index > got.limit).sum()), n),
        Measurement("anomaly limit", got.limit, n, got.limit, got.limit),
    ]
    notes = [f"an index above {got.limit:g} is suspicious; {n} clean rows"]
    if case.recipe is None or case.train is None:
        notes.append("without recipe and training rows no positive control could be trained")
    else:
        usual = usual_attack()
        attacks = {"": usual}
        if "size" in usual.params and case.train.tensor.ndim == 4:
            size = min(case.train.tensor.shape[2:]) // 2
            attacks[f"size={size}"] = replace(usual, size=size)  # type: ignore[type-var]
        for done, (part, attack) in enumerate(attacks.items()):
            try:
                planted = plant(attack, case.train, case.recipe, run)
            except NotApplicable as reason:
                notes.append(f"without positive control: the training set {reason}")
                break
            seen = scan(method, planted.victim, clean, run, Ledger())
            value = float(seen.index[WANTED])
            found.append(Measurement("anomaly index of a planted copy", value, n, part=part))
            took = float(fired(planted.victim, attack, rest, run).float().mean())
            if took < DEAD:
                notes.append(f"the planted copy answers its trigger in {took:.0%} of rows only")
            run.progress(2 + done, steps)
        fresh = trained(case.recipe, case.train, run, "clean copy")
        null = float(scan(method, fresh, clean, run, Ledger()).index.max())
        found.append(Measurement("anomaly index of a clean copy", null, n))
        if null > got.limit:
            notes.append("a clean copy exceeds the limit too, so an alarm means little here")
        run.progress(steps, steps)
    tensors = {"index": got.index.cpu()}
    if len(got.index) <= SHOWN:
        tensors |= {name: value.cpu() for name, value in got.tensors.items()}
    return Evidence(tuple(found), tensors, n, ledger.forwards, ledger.backwards, tuple(notes))
