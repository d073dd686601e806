"""Defences never see the trigger, the planted rows or the test set: all three bite when touched."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Generator, Tensor, nn

from holdfast.backdoor.attacks.badnets import BadNets
from holdfast.backdoor.defences.activation_clustering import ActivationClustering
from holdfast.backdoor.defences.fine_pruning import FinePruning
from holdfast.backdoor.defences.neural_cleanse import NeuralCleanse
from holdfast.core.dataset import Dataset
from holdfast.core.kinds import Aim, DataFilter, Poisoned, Repair, Suspicion, WeightScan
from holdfast.core.method import REGISTRY
from holdfast.core.recipe import TorchRecipe
from holdfast.core.record import ThreatModel
from holdfast.core.run import Run
from holdfast.core.target import Features, Gradients
from holdfast.engine import datafilter, repair, weightscan
from holdfast.engine.case import Case
from holdfast.targets.training import ClassifierRecipe

ARMED = [False]
SEEN: list[Dataset] = []


class Touched(Exception):
    """A defence looked at what it may not know."""


@contextmanager
def armed(data: Dataset) -> Iterator[None]:
    """While a defence works, and with what it was given kept for later."""
    SEEN.append(data)
    ARMED[0] = True
    try:
        yield
    finally:
        ARMED[0] = False


def check() -> None:
    if ARMED[0]:
        raise Touched


class HiddenSet(Dataset):
    """A data set that bites; its first rows may be given away as clean ones."""

    def first(self, count: int) -> Dataset:
        return Dataset(self.name, self.x[:count], self.y[:count], self.classes)

    def __getattribute__(self, name: str):
        if not name.startswith("__"):
            check()
        return super().__getattribute__(name)


class HiddenRows(Tensor):
    """Row numbers that bite."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        check()
        return super().__torch_function__(func, types, args, kwargs or {})


@dataclass(frozen=True)
class HiddenTrigger(BadNets):
    """BadNets whose trigger and rows bite."""

    def stamp(self, x: Tensor, rng: Generator) -> Tensor:
        check()
        return super().stamp(x, rng)

    def poison(self, data: Dataset, aim: Aim, rng: Generator) -> Poisoned:
        got = super().poison(data, aim, rng)
        return Poisoned(got.data, got.rows.as_subclass(HiddenRows))


@dataclass(frozen=True)
class WatchedFilter(DataFilter[Features]):
    """Activation clustering, watched."""

    def suspect(self, target: Features, data: Dataset, rng: Generator) -> Tensor:
        with armed(data):
            return ActivationClustering().suspect(target, data, rng)


@dataclass(frozen=True)
class WatchedRepair(Repair):
    """Fine-pruning, watched; nothing is left to do after the last yield."""

    def repair(
        self, module: nn.Module, recipe: TorchRecipe, clean: Dataset, rng: Generator
    ) -> Iterator[nn.Module]:
        with armed(clean):
            done = list(FinePruning(epochs=2).repair(module, recipe, clean, rng))
        yield from done


@dataclass(frozen=True)
class WatchedScan(WeightScan[Gradients]):
    """Neural Cleanse, watched."""

    def scan(self, target: Gradients, clean: Dataset, rng: Generator) -> Suspicion:
        with armed(clean):
            return NeuralCleanse(steps=2).scan(target, clean, rng)


@dataclass(frozen=True)
class Cheat(DataFilter[Features]):
    """Peeks at the test set; there to show that the trap works."""

    hidden: HiddenSet

    def suspect(self, target: Features, data: Dataset, rng: Generator) -> Tensor:
        with armed(data):
            return self.hidden.y == 0


@pytest.fixture
def case(digits, recipe, monkeypatch) -> Case:
    entry = replace(REGISTRY["backdoor/badnets"], cls=HiddenTrigger)
    monkeypatch.setitem(REGISTRY, "backdoor/badnets", entry)
    SEEN.clear()
    train, test = digits[0].first(400), digits[1].first(150)
    hidden = HiddenSet(test.name, test.x, test.y, test.classes)
    quick = ClassifierRecipe(recipe.factory, epochs=1)
    return Case(quick.train(train, 0), hidden, ThreatModel("Weights"), train, quick)


def rows_of(data: Dataset) -> set[bytes]:
    return {row.numpy().tobytes() for row in data.tensor}


def test_the_trap_closes_on_a_filter_that_peeks(case) -> None:
    with pytest.raises(Touched):
        datafilter.assess(Cheat(case.test), case, Run())


def test_data_filters_see_the_model_and_the_suspicious_data_alone(case) -> None:
    datafilter.assess(WatchedFilter(), case, Run())
    assert len(SEEN) == 3
    assert not any(rows_of(data) & rows_of(case.test) for data in SEEN)


def test_repairs_see_clean_rows_that_are_in_neither_test_set_nor_poison(case) -> None:
    repair.assess(WatchedRepair(), case, Run())
    stamped = BadNets().stamp(case.train.x, torch.Generator())
    poison = {row.numpy().tobytes() for row in stamped}
    assert len(SEEN) == 3
    for data in SEEN:
        assert len(data) == 20
        assert not rows_of(data) & (rows_of(case.test) | poison)
    kept = (rows_of(SEEN[0]), rows_of(SEEN[2]))
    assert kept[0] == kept[1]
    assert not kept[0] & rows_of(SEEN[1])  # the attacker's own rows are others


def test_scans_see_no_trigger_and_no_planted_row(case) -> None:
    weightscan.assess(WatchedScan(), case, Run())
    stamped = BadNets().stamp(case.train.x, torch.Generator())
    assert len(SEEN) == 4
    assert not any(rows_of(data) & {row.numpy().tobytes() for row in stamped} for data in SEEN)
