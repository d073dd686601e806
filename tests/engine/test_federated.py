"""The federation against closed forms, and boosting against the mean and the median."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector

from holdfast.backdoor.defences.trimmed_mean import TrimmedMean
from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.core.record import Measurement, ThreatModel
from holdfast.core.run import Run
from holdfast.engine.case import Case
from holdfast.engine.federated import Federation, Malice, assess, honest_rounds, one_round, split
from holdfast.poisoning.attacks.federated_boosting import FederatedBoosting
from holdfast.targets.training import ClassifierRecipe

THREAT = ThreatModel("Nothing")


class OneStep(ClassifierRecipe):
    """Moves every parameter by the mean of the client's inputs, once per epoch."""

    def fit(self, module, data, seed):
        for epoch in range(3):
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter += data.tensor.mean()
            yield Measurement("loss", 0.0, len(data), part=f"epoch={epoch + 1}")


def federation(values: list[float], aggregator=None, factory=lambda: nn.Linear(2, 2)):
    clients = tuple(
        Dataset(f"client {v}", torch.full((4, 2), v), torch.arange(4) % 2, ("a", "b"))
        for v in values
    )
    return Federation(OneStep(factory), clients, aggregator, epochs=2)


def moved(values: list[float], aggregator=None, malice=None) -> float:
    together = federation(values, aggregator)
    start = together.recipe.build(0)
    after = one_round(together, start, 0, Run(), malice)
    change = parameters_to_vector(after.parameters()) - parameters_to_vector(start.parameters())
    assert change.std() < 1e-6
    return float(change.mean().detach())


def test_a_round_adds_the_mean_update_of_equally_counted_clients() -> None:
    """Two epochs of +value each: the mean of 2, 4 and 18 is 8."""
    assert moved([1.0, 2.0, 9.0]) == pytest.approx(8.0, abs=1e-5)


def test_a_round_with_the_median_adds_the_middle_update() -> None:
    assert moved([1.0, 2.0, 9.0], TrimmedMean()) == pytest.approx(4.0, abs=1e-5)


def test_a_malicious_client_trains_longer_on_its_victims_and_boosts() -> None:
    """Three epochs on a half-half mix of 0 and 8, times three clients, over three: 12 + (2 + 4) / 3."""
    victims = Dataset("victims", torch.full((2, 2), 8.0), torch.tensor([0, 1]), ("a", "b"))
    malice = Malice(FederatedBoosting(), victims, (0,))
    assert moved([0.0, 1.0, 2.0], None, malice) == pytest.approx(14.0, abs=1e-5)
    assert moved([0.0, 1.0, 2.0], TrimmedMean(), malice) == pytest.approx(4.0, abs=1e-5)


def test_running_statistics_are_averaged_over_clients() -> None:
    together = federation([1.0, 3.0], None, lambda: nn.BatchNorm1d(2))

    class Counting(OneStep):
        def fit(self, module, data, seed):
            module.running_mean += data.tensor.mean()
            yield Measurement("loss", 0.0, 1)

    together = Federation(Counting(lambda: nn.BatchNorm1d(2)), together.clients)
    after = one_round(together, together.recipe.build(0), 0, Run())
    assert after.running_mean.tolist() == [2.0, 2.0]


def test_clients_share_all_rows_evenly_and_none_twice(digits) -> None:
    parts = split(digits[0].first(103), 10, Run())
    assert sorted(len(part) for part in parts) == [10] * 7 + [11] * 3
    rows = torch.cat([part.x.flatten(1) for part in parts])
    everything = digits[0].first(103).x.flatten(1)
    assert (torch.cdist(everything, rows) < 1e-6).any(1).all()


def test_honest_rounds_learn_and_repeat_themselves(digits, recipe) -> None:
    together = Federation(recipe, split(digits[0].first(300), 3, Run()))
    models = honest_rounds(together, 6, Run())
    again = honest_rounds(together, 6, Run())
    data = digits[1]
    right = [float((m(data.x).argmax(1) == data.y).float().mean()) for m in (models[0], models[-1])]
    assert right[0] < 0.3 < 0.6 < right[1]
    assert torch.equal(models[-1](data.x), again[-1](data.x))


@pytest.fixture(scope="module")
def evidence(digits, digit_target, recipe):
    case = Case(digit_target, digits[1], THREAT, digits[0], recipe)
    return assess(TrimmedMean(), case, Run())


def found(evidence, name: str, part: str):
    return next(m.value for m in evidence.measurements if (m.name, m.part) == (name, part))


def test_one_boosting_client_steers_the_mean_but_not_the_median(evidence) -> None:
    assert found(evidence, "victim success", "mean, no attack") == 0
    assert found(evidence, "victim success", "robust, no attack") == 0
    assert found(evidence, "victim success", "mean, attacked") >= 0.5
    assert found(evidence, "victim success", "robust, attacked") <= 0.2


def test_the_median_costs_little_accuracy_and_the_attack_costs_the_mean_some(evidence) -> None:
    honest = found(evidence, "clean accuracy", "mean, no attack")
    assert honest > 0.8
    assert abs(found(evidence, "clean accuracy", "robust, no attack") - honest) < 0.06
    assert found(evidence, "clean accuracy", "mean, attacked") < honest
    assert found(evidence, "clean accuracy", "robust, attacked") > 0.8


def test_an_attack_is_judged_by_the_same_cells(evidence, digits, digit_target, recipe) -> None:
    small = digits[0].first(200)
    case = Case(digit_target, digits[1], THREAT, small, ClassifierRecipe(recipe.factory, epochs=4))
    got = assess(FederatedBoosting(), case, Run())
    assert [(m.name, m.part) for m in got.measurements] == [
        (m.name, m.part) for m in evidence.measurements
    ]


def test_too_few_rows_are_not_applicable(digits, digit_target, recipe) -> None:
    case = Case(digit_target, digits[1], THREAT, digits[0].first(50), recipe)
    with pytest.raises(NotApplicable, match="clients"):
        assess(TrimmedMean(), case, Run())
