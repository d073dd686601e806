"""Rotations and translations against brute force, and on models that know where things are."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from holdfast.core.errors import NotApplicable
from holdfast.core.goal import AwayFrom, ToClass
from holdfast.core.record import ThreatModel
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.engine.case import Case
from holdfast.engine.curve import assess
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.spatial import Spatial
from holdfast.targets.torch import TorchClassifier
from tests.toys import LinearTarget

FREE = Budget("any", 0.0)


def pictures(count: int = 12, side: int = 10) -> tuple[LinearTarget, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 1, 4, 4, generator=rng)
    x = nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
    return LinearTarget.random(side * side, 4), x


@pytest.mark.parametrize("targeted", [False, True])
def test_the_grid_breaks_exactly_the_rows_that_brute_force_breaks_and_mildly(targeted) -> None:
    target, x = pictures()
    own = target.answer(x)
    goal = ToClass((own + 1) % 4) if targeted else AwayFrom(own)
    method = Spatial(angles=7, shifts=3, max_shift=0.2)
    got = attack(method, target, x, goal, FREE, Run(batch_size=5))
    grid = method.grid()
    assert grid.shape == (63, 3)
    sizes = grid.abs().sum(1)
    assert (sizes.diff() >= -1e-6).all()
    mildest = 0
    for row in range(len(x)):
        every = method.moved(x[row : row + 1].expand(63, -1, -1, -1), grid, target.space)
        told = target.answer(every)
        broken = told == goal.labels[row] if targeted else told != goal.labels[row]
        if broken.any():
            assert got.success[row]
        near = (every - got.x[row]).abs().flatten(1).amax(1)
        if got.success[row] and near.min() < 1e-5:  # not by the random draw, which comes first
            assert sizes[near.argmin()] == sizes[broken].min()
            mildest += 1
    assert mildest


def lit(side: int, row: int, column: int) -> torch.Tensor:
    x = torch.zeros(1, 1, side, side)
    x[..., row, column] = 1
    return x


@pytest.mark.parametrize(("max_shift", "reached"), [(0.2, True), (0.1, False)])
def test_what_lies_two_pixels_away_is_reached_by_a_fifth_of_the_side_only(
    max_shift: float, reached: bool
) -> None:
    """Class 1 where the pixel at row 4, column 7 is lit; it starts at column 5, of ten."""
    weight = torch.zeros(100, 2)
    weight[47, 1] = 1
    target = LinearTarget(weight, torch.tensor([0.9, 0.0]))
    method = Spatial(max_rotation=0.0, max_shift=max_shift, angles=1)
    got = attack(method, target, lit(10, 4, 5), ToClass(torch.tensor([1])), FREE, Run())
    assert bool(got.success) == reached
    if reached:
        assert torch.allclose(got.x, lit(10, 4, 7), atol=1e-5)


def test_the_worst_of_a_few_draws_costs_no_more_passes_than_that() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(100, 2))
    with torch.no_grad():
        net[1].weight.zero_()
    target = TorchClassifier(net)  # answers the same always
    _, x = pictures()
    goal = AwayFrom(target.answer(x))
    got = attack(Spatial(search="random", tries=7), target, x, goal, FREE, Run())
    assert (got.forwards, got.backwards) == (8 * 12, 0)
    assert not got.success.any()
    assert torch.equal(got.x, x)
    full = attack(Spatial(), target, x, goal, FREE, Run())
    assert full.forwards == (2 + 5 * 5 * 31) * 12


def test_what_moves_in_is_black_and_frozen_pixels_stay() -> None:
    editable = torch.ones(1, 10, 10, dtype=torch.bool)
    editable[:, :2] = False
    space = Box(-1.0, 1.0, editable=editable)
    _, x = pictures()
    place = torch.tensor([[0.0, 1.0, 0.0]]).expand(12, 3)
    moved = Spatial(max_shift=0.2).moved(x, place, space)
    assert torch.equal(moved[:, :, :2], x[:, :, :2])
    assert torch.allclose(moved[:, :, 2:, :2], torch.tensor(-1.0), atol=1e-5)
    assert torch.allclose(moved[:, :, 2:, 2:], x[:, :, 2:, :-2], atol=1e-5)


def test_tables_cannot_be_turned() -> None:
    target = LinearTarget.random(6, 2)
    x = torch.rand(3, 6, generator=torch.Generator().manual_seed(0))
    with pytest.raises(NotApplicable, match="images"):
        attack(Spatial(), target, x, AwayFrom(target.answer(x)), FREE, Run())


def test_on_digits_the_grid_beats_ten_draws_which_beat_one(digits, digit_target) -> None:
    case = Case(digit_target, digits[1].first(60), ThreatModel("Gradients"))
    found = {}
    for search in ("grid", "random"):
        evidence = assess(Spatial(search=search), case, Run())
        found[search] = {m.name: m.value for m in evidence.measurements}
    one = found["grid"]["accuracy under one try"]
    assert found["grid"]["robust accuracy"] < 0.2
    assert found["grid"]["robust accuracy"] < found["random"]["robust accuracy"] < one


def test_images_without_a_least_value_are_refused_rather_than_called_robust() -> None:
    target = replace(LinearTarget.random(8, 3), space=Box(-torch.inf, torch.inf))
    x = torch.rand(2, 1, 2, 4, generator=torch.Generator().manual_seed(0))
    with pytest.raises(NotApplicable, match="least valid value"):
        attack(Spatial(), target, x, AwayFrom(target.answer(x)), Budget("any", 1.0), Run())
