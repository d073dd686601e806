"""Hyperparameters are checked when a method is made; registering derives everything else."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Generator, Tensor

from holdfast.core.errors import InputError
from holdfast.core.kinds import Aggregator, OutputFilter
from holdfast.core.method import REGISTRY, hyper, method


@dataclass(frozen=True)
class Halve(Aggregator):
    """Half of the mean."""

    share: float = hyper(0.5, "ours: a test", low=0, high=1)
    way: str = hyper("mean", "ours: a test", choices=("mean", "sum"))

    def aggregate(self, updates: Tensor) -> Tensor:
        return self.share * updates.mean(0)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"share": -0.1}, "Halve.share must be at least 0"),
        ({"share": 1.1}, "at most 1"),
        ({"share": math.nan}, "must be a number"),
        ({"way": "median"}, "one of mean, sum"),
    ],
)
def test_a_value_out_of_range_is_one_clear_error(given: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Halve(**given)


def test_params_are_all_fields() -> None:
    assert Halve(share=0.25).params == {"share": 0.25, "way": "mean"}


def test_two_methods_of_one_id_are_refused() -> None:
    before = dict(REGISTRY)
    try:
        register = method(cites="none", where="nowhere")
        register(Halve)
        assert register(Halve) is Halve, "importing a file twice is no second method"

        @dataclass(frozen=True)
        class Other(OutputFilter):
            """Another one."""

            def filter(self, probabilities: Tensor, rng: Generator) -> Tensor:
                return probabilities

        with pytest.raises(ValueError, match="one per file"):
            register(Other)
    finally:
        REGISTRY.clear()
        REGISTRY.update(before)


def test_random_streams_depend_on_seed_and_key_alone() -> None:
    from holdfast.core.run import Run

    def draw(seed: int, *key: object) -> float:
        return float(torch.rand((), generator=Run(seed=seed).generator(*key)))

    assert draw(0, "attack", 0) == draw(0, "attack", 0)
    assert len({draw(0, "attack", 0), draw(0, "attack", 1), draw(1, "attack", 0), draw(0)}) == 4
