"""The training runner: the same recipe and seed with and without the defence."""

from dataclasses import dataclass

import pytest
import torch

from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import TrainingDefence
from holdfast.core.record import Measurement, ThreatModel
from holdfast.core.run import Run
from holdfast.engine.case import Case
from holdfast.engine.lookup import registered
from holdfast.engine.train import assess, train
from holdfast.evasion.attacks.pgd import PGD
from holdfast.evasion.defences.pgd_training import PGDTraining
from holdfast.targets.training import ClassifierRecipe, fit

LINF = ThreatModel("Gradients", measure="linf", eps=(0.05, 0.2))


@dataclass(frozen=True)
class Ordinary(TrainingDefence):
    """Does just what the recipe does."""

    def train(self, module, recipe, data, rng):
        yield from fit(module, data, recipe, 0)


def by_name(evidence) -> dict[str, Measurement]:
    return {f"{m.name} {m.part}".strip(): m for m in evidence.measurements}


def test_pgd_training_makes_the_digit_model_robust_at_little_cost(digits, recipe) -> None:
    case = Case(None, digits[1].first(300), LINF, digits[0], recipe)
    found = by_name(assess(PGDTraining(epochs=10, steps=4), case, Run()))
    assert found["clean accuracy"].value > 0.93
    assert found["robust accuracy (undefended) eps=0.2"].high < 0.1
    assert found["robust accuracy eps=0.2"].low > 0.3
    assert found["robust accuracy eps=0.05"].value > found["robust accuracy eps=0.2"].value
    assert found["training time ratio"].value > 1.5
    judged = [m for name, m in found.items() if "accuracy" in name and "training" not in name]
    assert all(m.n == 300 for m in judged)


def test_a_defence_that_does_nothing_changes_nothing(digits) -> None:
    from tests.conftest import small_cnn

    recipe = ClassifierRecipe(small_cnn, epochs=2)
    case = Case(None, digits[1].first(100), LINF, digits[0].first(300), recipe)
    found = by_name(assess(Ordinary(), case, Run()))
    for name in ("clean accuracy{}", "robust accuracy{} eps=0.05", "robust accuracy{} eps=0.2"):
        assert found[name.format("")].value == found[name.format(" (undefended)")].value


def test_progress_is_told_in_epochs(digits, recipe) -> None:
    told = []
    run = Run(progress=lambda done, total: told.append((done, total)))
    train(PGDTraining(epochs=3, steps=1), recipe, digits[0].first(64), run)
    assert told[-1] == (3, 3)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_dropout_does_not_break_repetition(digits) -> None:
    def net() -> torch.nn.Module:
        return torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.Dropout(), torch.nn.Linear(32, 10)
        )

    recipe, data = ClassifierRecipe(net), digits[0].first(100)
    first, again = (train(PGDTraining(epochs=2), recipe, data, Run()) for _ in range(2))
    assert torch.equal(first[3].weight, again[3].weight)


def test_without_recipe_or_rows_it_is_not_applicable(digits, recipe) -> None:
    with pytest.raises(NotApplicable, match="factory"):
        assess(PGDTraining(), Case(None, digits[1], LINF, digits[0]), Run())
    with pytest.raises(NotApplicable, match="training rows"):
        assess(PGDTraining(), Case(None, digits[1], LINF, None, recipe), Run())
    words = ThreatModel("Gradients", measure="words", eps=(0.1,))
    with pytest.raises(NotApplicable, match="words"):
        assess(PGDTraining(), Case(None, digits[1], words, digits[0], recipe), Run())


def test_a_method_is_looked_up_by_id_and_its_absence_is_said() -> None:
    assert registered("evasion/pgd") is PGD
    with pytest.raises(NotApplicable, match="evasion/none, which is not loaded"):
        registered("evasion/none")
