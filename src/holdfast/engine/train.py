"""Train with a defence, and compare with the same recipe and seed without it."""

from collections.abc import Callable
from time import perf_counter
from typing import Any, cast

import torch
from torch import nn

from holdfast.core.dataset import Dataset
from holdfast.core.goal import AwayFrom
from holdfast.core.kinds import TrainingDefence
from holdfast.core.recipe import TorchRecipe
from holdfast.core.record import Measurement
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.case import Case, Evidence, on, rate
from holdfast.engine.evasion import answers, attack
from holdfast.engine.lookup import registered

Heard = Callable[[Measurement], None]


def train(
    method: TrainingDefence,
    recipe: TorchRecipe,
    data: Dataset,
    run: Run,
    heard: Heard | None = None,
) -> nn.Module:
    """A fresh module of the recipe, trained by the defence; the same seed gives the same weights.

    Args:
        method: the defence.
        recipe: builds and wraps the module.
        data: training rows.
        run: seed, device and who hears of progress, which is told in epochs.
        heard: told every measurement that the defence yields.
    """
    module = recipe.build(run.seed).to(run.device)
    data = on(data, run)
    epochs, seen = int(getattr(method, "epochs", 0)), set()
    devices = [run.device] if run.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(run.seed)  # dropout layers draw from the global stream
        for measurement in method.train(module, recipe, data, run.generator("train")):
            seen.add(measurement.part)
            run.progress(len(seen), max(epochs, len(seen)))
            if heard is not None:
                heard(measurement)
    return module.eval()


def assess(method: TrainingDefence, case: Case, run: Run) -> Evidence:
    """Clean and robust accuracy of two models of one recipe and seed, with and without the defence.

    Both are attacked with their own gradients, so the attack knows the defence. "training time
    ratio" is what the defence costs on this machine.
    """
    recipe, data, test = case.torch_recipe(), on(case.members(), run), case.test
    pgd = registered("evasion/pgd")()
    measure, budgets = case.budgets(pgd.measures)
    case.rows()
    start = perf_counter()
    plain = cast(Any, recipe.train(data, run.seed))
    middle = perf_counter()
    said: dict[str, Measurement] = {}
    module = train(method, recipe, data, run, lambda m: said.update({m.name: m}))
    defended = cast(Any, recipe.wrap(module))
    ratio = (perf_counter() - middle) / max(1e-9, middle - start)
    measurements, tensors, forwards, backwards = [], {}, 0, 0
    for target, suffix in ((defended, ""), (plain, " (undefended)")):
        standing = answers(target, test.tensor, run) == test.y
        measurements.append(rate(f"clean accuracy{suffix}", standing))
        for eps in budgets:
            left = standing.nonzero().flatten()
            x, y = test.tensor[left], test.y[left]
            got = attack(pgd, target, x, AwayFrom(y), Budget(measure, eps), run)
            standing[left[got.success]] = False
            measurements.append(rate(f"robust accuracy{suffix}", standing, part=f"eps={eps:g}"))
            forwards, backwards = forwards + got.forwards, backwards + got.backwards
            if not suffix and got.success.any():
                shown = got.success.nonzero().flatten()[:8]
                tensors = {
                    "clean": x[shown], "adversarial": got.x[shown], "labels": y[shown],
                    "answers": answers(target, got.x[shown], run),
                }  # fmt: skip
    measurements.append(Measurement("training time ratio", ratio, 1))
    measurements += said.values()  # the last of each, such as the privacy loss "epsilon"
    return Evidence(tuple(measurements), tensors, len(test), forwards, backwards)
