"""Plant a backdoor the way its victim would train, and measure how well it took."""

import math
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import Aim, BackdoorAttack, Poisoned
from holdfast.core.recipe import Recipe
from holdfast.core.record import Measurement
from holdfast.core.run import Run
from holdfast.core.target import Scores
from holdfast.engine.case import Case, Evidence, on, rate
from holdfast.engine.evasion import answers
from holdfast.engine.lookup import registered

WANTED = 0
"""The class that planted triggers ask for."""
RATES = (0.05, 0.01)
"""Shares of the training set that are poisoned; the first one is the headline."""
DEAD = 0.5
"""A backdoor that fires less often than this did not take; nothing follows for a defence."""


@dataclass(frozen=True, eq=False)
class Planted:
    """A victim and what it was given.

    Attributes:
        attack: what made the trigger.
        aim: rate and wanted class.
        poisoned: the training data; a defence sees `poisoned.data` alone.
        victim: the model trained on it.
    """

    attack: BackdoorAttack
    aim: Aim
    poisoned: Poisoned
    victim: Scores


def seed(run: Run, *key: object) -> int:
    """A whole-number seed of its own for every key, as recipes want one."""
    return run.generator(*key).initial_seed() % 2**31


def trained(recipe: Recipe, data: Dataset, run: Run, *key: object) -> Scores:
    """A fresh model on the device of its data; one seed for every key."""
    return recipe.train(data, seed(run, *key))


def plant(
    attack: BackdoorAttack, data: Dataset, recipe: Recipe, run: Run, rate_: float = 0.05
) -> Planted:
    """Poison a share of `data` and train a victim on it by `recipe`."""
    aim = Aim(rate_, WANTED)
    count = math.floor(rate_ * len(data))
    if len(data.classes) < 2 or not count or count > int((data.y != WANTED).sum()):
        raise NotApplicable(f"has too few rows to poison {rate_:.1%} of them")
    poisoned = attack.poison(on(data, run), aim, run.generator("plant", rate_))
    return Planted(attack, aim, poisoned, trained(recipe, poisoned.data, run, "victim"))


def usual_attack() -> BackdoorAttack:
    """The attack that defences are judged by."""
    return cast(BackdoorAttack, registered("backdoor/badnets")())


def fired(target: Any, attack: BackdoorAttack, test: Dataset, run: Run) -> Tensor:
    """Boolean (n,): rows of other classes that are answered `WANTED` once they are stamped.

    Rows that belong to the wanted class are left out: they would be answered so anyway.
    """
    x = test.tensor[test.y != WANTED]
    if not len(x):
        raise NotApplicable("needs held-out rows of another class than the wanted one")
    stamped = attack.stamp(x.to(run.device), run.generator("stamp"))
    return answers(target, stamped, run) == WANTED


def right(target: Any, test: Dataset, run: Run) -> Tensor:
    """Boolean (N,): rows that are answered with their label."""
    return answers(target, test.tensor, run) == test.y


def judged(
    target: Any, attack: BackdoorAttack, test: Dataset, run: Run, part: str
) -> list[Measurement]:
    """Attack success and clean accuracy of one model."""
    return [
        rate("attack success", fired(target, attack, test, run), part=part),
        rate("clean accuracy", right(target, test, run), part=part),
    ]


def dead(measurements: list[Measurement], part: str) -> tuple[str, ...]:
    """A note where the backdoor had not taken before the defence."""
    before = next(m for m in measurements if (m.name, m.part) == ("attack success", part))
    if before.value >= DEAD:
        return ()
    return (f"the planted backdoor did not take ({before}), so the defence was not put to a test",)


def assess(method: BackdoorAttack, case: Case, run: Run) -> Evidence:
    """How easily this recipe picks up the trigger, by share of poisoned rows.

    Controls: a model trained on the same rows without poison and then shown the trigger, and the
    victim without it.
    """
    recipe, data, test = case.any_recipe(), on(case.members(), run), case.test
    clean = trained(recipe, data, run, "victim")
    run.progress(1, 1 + len(RATES))
    others, found = test.y != WANTED, list[Measurement]()
    for step, share in enumerate(RATES):
        part = f"rate={share:g}"
        planted = plant(method, data, recipe, run, share)
        if share == RATES[0]:
            found += judged(planted.victim, method, test, run, "")
        found += judged(planted.victim, method, test, run, part)
        idle = answers(planted.victim, test.tensor[others], run) == WANTED
        found.append(rate("wanted answers without the trigger", idle, part=part))
        run.progress(2 + step, 1 + len(RATES))
    found += [
        rate("success without trigger training", fired(clean, method, test, run)),
        rate("clean accuracy without poison", right(clean, test, run)),
    ]
    shown = test.tensor[others][:8]
    stamped = method.stamp(shown.to(run.device), run.generator("stamp")).cpu()
    tensors = {"clean": shown, "stamped": stamped}
    notes = (f"one victim per rate; the wanted class is {test.classes[WANTED]}",)
    return Evidence(tuple(found), tensors, int(others.sum()), notes=notes)
