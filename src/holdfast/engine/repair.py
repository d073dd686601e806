"""Judge a repair on a model with a planted backdoor, beside plain fine-tuning."""

from collections.abc import Iterator
from copy import deepcopy
from typing import cast

import torch
from torch import nn

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import Repair
from holdfast.core.recipe import TorchRecipe
from holdfast.core.run import Run
from holdfast.core.target import Weights
from holdfast.engine.backdoor import dead, judged, plant, seed, usual_attack
from holdfast.engine.case import Case, Evidence, on
from holdfast.ops.finetune import finetune

CLEAN = 0.05
"""Share of the training rows that the defender knows to be clean."""
FEWEST = 20
"""Fewer clean rows than this mend nothing."""


def mend(
    method: Repair, module: nn.Module, recipe: TorchRecipe, clean: Dataset, run: Run
) -> nn.Module:
    """The last module that the repair yields. It sees the model and a few clean rows alone."""
    last: Iterator[nn.Module] = method.repair(module, recipe, clean, run.generator("repair"))
    mended = module
    for mended in last:  # noqa: B007  # the last one is what counts
        pass
    return mended


def assess(method: Repair, case: Case, run: Run) -> Evidence:
    """Attack success and clean accuracy before and after.

    Controls: fine-tuning alone on the same clean rows with the settings of the repair where it has
    any, and an attacker who knows the defence: he runs it on his own model, plants the backdoor
    again in what is left, and hands that over.
    """
    recipe, data, test = case.torch_recipe(), on(case.members(), run), case.test
    order = run.order(len(data), "clean rows")
    count = round(CLEAN * len(data))
    if count < FEWEST:
        raise NotApplicable(f"needs {FEWEST} clean rows, which is 5 % of {int(FEWEST / CLEAN)}")
    clean, rest = data.take(order[:count]), data.take(order[count:])
    attack = usual_attack()
    planted = plant(attack, rest, recipe, run)
    module = cast(Weights, planted.victim).module
    run.progress(1, 4)
    found = judged(planted.victim, attack, test, run, "before")
    notes = dead(found, "before")
    found += judged(
        recipe.wrap(mend(method, module, recipe, clean, run)), attack, test, run, "after"
    )
    run.progress(2, 4)
    plain = deepcopy(module)
    epochs, speed = int(method.params.get("epochs") or 30), float(method.params.get("rate") or 5e-3)
    finetune(plain, clean.tensor, clean.y, epochs, speed, run.generator("fine-tuning"))
    found += judged(recipe.wrap(plain), attack, test, run, "fine-tuning only")
    run.progress(3, 4)
    own = rest.take(torch.arange(count))  # the attacker's clean rows are his own
    known = mend(method, module, recipe, own, run)
    for _ in recipe.fit(known, planted.poisoned.data, seed(run, "adaptive")):
        pass
    adaptive = mend(method, known, recipe, clean, run)
    found += judged(recipe.wrap(known), attack, test, run, "before, attacker knows the defence")
    found += judged(recipe.wrap(adaptive), attack, test, run, "after, attacker knows the defence")
    run.progress(4, 4)
    notes += (f"one victim; the defender has {count} clean rows, none of them in its training",)
    return Evidence(tuple(found), {}, len(test), notes=notes)
