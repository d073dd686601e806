"""The runner of test generators counts seeds, judges anew and compares with blind search."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Generator, Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import Explored, TestGenerator
from holdfast.core.record import Measurement, ThreatModel
from holdfast.core.run import Run
from holdfast.core.target import Gradients, Scores
from holdfast.engine.case import Case, Evidence
from holdfast.engine.explore import Blind, assess
from holdfast.trust.tests.deepxplore import DeepXplore
from tests.toys import LinearTarget


def at(level: float) -> LinearTarget:
    """Class 1 where the mean is above `level`."""
    plain = LinearTarget.two_class(4)
    return LinearTarget(plain.weight, plain.bias + torch.tensor([level - 0.5, 0.5 - level]))


@dataclass(frozen=True)
class Claims(TestGenerator[Gradients]):
    """Says it has found much: two inputs per seed, some of them no find, one out of the box."""

    def explore(
        self, target: Gradients, peers: tuple[Scores, ...], seeds: Tensor, rng: Generator
    ) -> Iterator[Explored]:
        yield Explored(seeds[:0], torch.zeros(0, dtype=torch.long), 0.25, 8)
        inside, outside = torch.full_like(seeds, 0.55), torch.full_like(seeds, 0.9)
        beyond = torch.tensor([[2.2, 0.0, 0.0, 0.0]])
        x = torch.cat([inside[:2], inside[:2], outside, beyond])
        rows = torch.cat([torch.tensor([0, 1, 0, 1]), torch.arange(len(seeds)), torch.tensor([2])])
        yield Explored(x, rows, 0.5, 8)


def data() -> Dataset:
    x = torch.tensor([0.3, 0.4, 0.8, 0.9, 0.57])[:, None].expand(5, 4).clone()
    return Dataset("line", x, torch.tensor([0, 0, 1, 1, 1]), ("low", "high"))


def find(got: Evidence, name: str) -> Measurement:
    return next(m for m in got.measurements if m.name == name)


def test_seeds_count_once_and_every_find_is_judged_anew() -> None:
    case = Case(at(0.6), data(), ThreatModel("Gradients"), peers=(at(0.5),))
    got = assess(Claims(), case, Run())
    assert find(got, "agreeing rows").value == pytest.approx(4 / 5)
    found = find(got, "difference-inducing seeds")
    assert (found.value, found.n) == (2 / 4, 4)  # not four inputs, not the claims at 0.9, not 2.2
    assert find(got, "neuron coverage (seeds alone)").value == 0.25
    assert find(got, "neuron coverage") == Measurement("neuron coverage", 0.5, 8, 0.5, 0.5)
    assert got.tensors["answers"].tolist() == [[0, 1], [0, 1]]
    # the peer is the one that left its answer 0 on both seeds
    assert find(got, "finds that this model answers differently").value == 0
    change = find(got, "median change")
    assert (change.value, change.n) == (pytest.approx(0.2, abs=1e-6), 2)


def test_blind_gradients_are_noise_that_keeps_its_direction_and_answers_are_true() -> None:
    target = at(0.5)
    blind = Blind(target, torch.Generator().manual_seed(0))
    x = torch.rand(5, 4, generator=torch.Generator().manual_seed(1))
    one, again = (blind.gradient(x + d, lambda raw: raw[:, 1]) for d in (0, 0.1))
    assert torch.equal(one.wrt_input, again.wrt_input)
    assert torch.equal(one.raw, target.scores(x))
    assert torch.equal(blind.answer(x), target.answer(x))
    up = int((one.wrt_input > 0).sum())  # the true gradient points upwards everywhere
    assert 4 <= up <= 16


def test_guided_search_beats_blind_search_on_digits(recipe, digit_target, digits) -> None:
    short = replace(recipe, epochs=4)
    case = Case(digit_target, digits[1].first(50), ThreatModel("Features"), digits[0], short)
    got = assess(DeepXplore(), case, Run())
    guided, blind = (
        find(got, f"difference-inducing seeds{tail}") for tail in ("", " (random directions)")
    )
    assert guided.low > blind.high
    assert find(got, "neuron coverage").value >= find(got, "neuron coverage (seeds alone)").value
    assert len(got.tensors["clean"]) == len(got.tensors["generated"]) == 8
    assert got.backwards > 0
    assert assess(DeepXplore(), case, Run()).measurements == got.measurements


def test_no_peers_and_no_recipe_does_not_apply(digits) -> None:
    with pytest.raises(NotApplicable, match="train"):
        assess(Claims(), Case(at(0.6), data(), ThreatModel("Gradients")), Run())
    opposite = LinearTarget(-at(0.5).weight, -at(0.5).bias)
    case = Case(at(0.5), data(), ThreatModel("Gradients"), peers=(opposite,))
    with pytest.raises(NotApplicable, match="agree on no row"):
        assess(Claims(), case, Run())
