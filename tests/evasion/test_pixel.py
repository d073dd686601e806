"""Few-pixel attack: against exhaustive search, its count of features, and linear models."""

import pytest
import torch

from holdfast.core.errors import NotApplicable
from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.pixel import Pixel
from holdfast.evasion.scored import Problem
from tests.black_box import check_beats_noise, check_counted, check_done_rows_are_free
from tests.oracles import check_fixed, check_targeted, problem, two_class
from tests.toys import LinearTarget


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_one_pixel_is_the_best_of_all_pixels_and_colours() -> None:
    """The best pixel of a linear model is known: each of its channels at an end of its range.

    Forty random pixels hardly hold it, so it is found by evolution alone.
    """
    target, x = two_class((3, 4, 4), n=6, spread=0.9)
    goal = AwayFrom(target.answer(x))
    slope = target.gradient(x, goal.margin).wrt_input
    gain = torch.maximum(slope * (1 - x), slope * (0 - x)).sum(1).flatten(1).amax(1)
    before = goal.margin(target.scores(x))
    method, best = Pixel(steps=80, population=40), []
    for candidate in method.run(target, x, goal, Budget("l0", 3.0), generator()):
        assert ((candidate.x != x).any(1).flatten(1).sum(1) <= 1).all()
        best.append(goal.margin(target.scores(candidate.x)))
    reached = torch.stack(best).amax(0) - before
    assert (reached > 0.9 * gain).all()
    assert (reached <= gain * 1.0001).all()
    assert ((best[1] - before) < 0.9 * gain).any()


def test_linear_models_fall_with_as_few_features_as_are_needed() -> None:
    target, x = problem((16,), spread=0.9, classes=2, n=8)
    check_fixed(Pixel(), "l0", target, x)


def test_towards_a_class() -> None:
    check_targeted(Pixel(steps=60, population=100), "l0", shape=(12,))


def test_frozen_features_never_move() -> None:
    plain, x = two_class((12,))
    editable = torch.arange(12) % 3 > 0
    target = LinearTarget(plain.weight, plain.bias, Box(editable=editable))
    goal = AwayFrom(target.answer(x))
    method = Pixel(steps=40, population=60)
    got = attack(method, target, x, goal, Budget("l0", 3.0), Run())
    assert torch.equal(got.x[:, ~editable], x[:, ~editable])
    assert got.success.float().mean() > 0.7


def test_a_pixel_of_an_image_costs_as_many_features_as_it_has_channels() -> None:
    target, x = two_class((3, 4, 4), n=6)
    goal, method = AwayFrom(target.answer(x)), Pixel(steps=10, population=40)
    for eps, pixels in [(2.0, 0), (3.0, 1), (5.0, 1), (6.0, 2)]:
        for candidate in method.run(target, x, goal, Budget("l0", eps), generator()):
            touched = (candidate.x != x).any(1).flatten(1).sum(1)
            assert (touched <= pixels).all()
    none = attack(method, target, x, goal, Budget("l0", 2.0), Run())
    assert none.forwards == len(x)
    assert not none.success.any()


def test_every_row_has_as_many_pixels_as_its_own_budget_buys() -> None:
    target, x = two_class((20,), n=4, spread=0.9)
    goal = AwayFrom(target.answer(x))
    eps = torch.tensor([0.5, 1.0, 2.9, 4.0])
    most = torch.zeros(4)
    for candidate in Pixel(steps=8, population=60).run(
        target, x, goal, Budget("l0", eps), generator()
    ):
        most = torch.maximum(most, (candidate.x != x).sum(1))
    assert most.tolist() == [0, 1, 2, 4]


def test_genes_are_places_and_colours_in_the_range_of_each_feature() -> None:
    low, high = torch.zeros(1, 2, 3), torch.ones(1, 2, 3)
    low[0, 1, 2], high[0, 1, 2] = -4, 6
    target = LinearTarget(torch.zeros(6, 2), torch.zeros(2), Box(low, high))
    x = torch.full((1, 1, 2, 3), 0.5)
    at = Problem(target, x, AwayFrom(torch.zeros(1, dtype=torch.long)), Budget("l0", 1.0))
    decode = Pixel()._decoder(at, torch.ones(1), Pixel()._bounds(at))
    got = decode(torch.tensor([[[0.99, 0.7, 0.25], [0.2, 0.0, 1.0], [1.0, 1.0, 1.0]]]))
    assert float(got[0, 0, 0, 1, 2]) == pytest.approx(-1.5)
    assert float(got[0, 1, 0, 0, 0]) == 1.0
    assert float(got[0, 2, 0, 1, 2]) == 6.0
    assert ((got - x.unsqueeze(1)) != 0).flatten(2).sum(2).tolist() == [[1, 1, 1]]


def test_queries_are_one_per_member_and_generation() -> None:
    got = check_counted(Pixel(steps=3, population=10), "l0", eps=1.0)
    assert got.forwards <= 5 * (1 + 10 * 4)
    stubborn = LinearTarget(torch.zeros(8, 2), torch.tensor([1.0, 0.0]))
    x = torch.rand(3, 8, generator=generator())
    goal = AwayFrom(torch.zeros(3, dtype=torch.long))
    got = attack(Pixel(steps=3, population=10), stubborn, x, goal, Budget("l0", 1.0), Run())
    assert got.forwards == 3 * (1 + 10 * 4)
    check_done_rows_are_free(Pixel(), "l0", eps=1.0)


def test_inputs_need_bounds() -> None:
    plain, x = two_class((8,))
    target = LinearTarget(plain.weight, plain.bias, Box(-torch.inf, torch.inf))
    with pytest.raises(NotApplicable, match="bounds"):
        attack(Pixel(), target, x, AwayFrom(target.answer(x)), Budget("l0", 1.0), Run())


def test_digits_fall_that_noise_of_the_same_size_leaves(digit_target, digits) -> None:
    check_beats_noise(Pixel(steps=30, population=80), digit_target, digits[1], "l0", 4.0)
