"""The saliency map attack: its map by hand, and what it reaches where pairs are optimal."""

import itertools
import math

import pytest
import torch

from holdfast.core.goal import AwayFrom, ToClass
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.jsma import JSMA
from tests.toys import LinearTarget

FREE = Budget("l0", torch.inf)


def mirrored(features: int, seed: int = 0) -> LinearTarget:
    """Two classes whose scores are each other's negative."""
    w = torch.randn(features, 1, generator=torch.Generator().manual_seed(seed))
    bias = torch.tensor([0.9, -0.9]) * w.abs().sum() / 8
    return LinearTarget(torch.cat([-w, w], 1), bias - torch.tensor([-1.0, 1.0]) * w.sum() / 2)


def test_the_pair_is_the_one_with_the_largest_saliency_of_equation_10() -> None:
    """Four features, three classes, one step, by enumeration."""
    weight = torch.tensor([[1.0, -2.0, 0.5], [0.7, -0.1, -0.9], [2.0, 1.5, 0.2], [-0.5, -3.0, 0.1]])
    target = LinearTarget(weight, torch.tensor([0.0, 20.0, 0.0]))
    x = torch.full((1, 4), 0.5)
    a, b = weight[:, 0], weight[:, 1:].sum(1)
    pairs = [
        (-float((a[p] + a[q]) * (b[p] + b[q])), p, q)
        for p, q in itertools.combinations(range(4), 2)
        if a[p] + a[q] > 0 and b[p] + b[q] < 0
    ]
    _, p, q = max(pairs)
    method = JSMA(theta=0.25, both_ways=False)
    slopes = torch.stack([a, b])[None]
    move, possible = method._pair(slopes, (-x, 1 - x))
    expected = torch.zeros(1, 4)
    expected[0, [p, q]] = 1
    assert possible.all()
    assert torch.equal(move, expected)
    assert {p, q} != set(a.topk(2).indices.tolist()), "both factors of the map matter"
    got = attack(method, target, x, ToClass(torch.tensor([0])), FREE, Run(queries=6))
    assert not got.success.any()


@pytest.mark.parametrize("targeted", [False, True])
def test_mirrored_linear_models_fall_with_as_few_pairs_as_can_do(targeted: bool) -> None:
    """Up to rounding to pairs: in the middle of the box the largest slopes are the best features."""
    for seed in range(8):
        target = mirrored(32, seed)
        x = torch.full((1, 32), 0.5)
        own = target.answer(x)
        least = float(target.distance(x, "l0"))
        goal = ToClass(1 - own) if targeted else AwayFrom(own)
        got = attack(JSMA(gamma=1.0), target, x, goal, FREE, Run())
        assert got.success.all()
        assert least <= float(got.distance) <= 2 * math.ceil(least / 2)


def test_raising_alone_needs_more_features_than_moving_both_ways() -> None:
    sizes = torch.zeros(2)
    for seed in range(8):
        target, x = mirrored(32, seed), torch.full((1, 32), 0.5)
        goal = AwayFrom(target.answer(x))
        both = attack(JSMA(gamma=1.0), target, x, goal, FREE, Run())
        up = attack(JSMA(gamma=1.0, both_ways=False), target, x, goal, FREE, Run())
        assert (up.x >= x).all()
        assert (both.x < x).any()
        assert both.success.all()
        assert up.success.all()
        sizes += torch.cat([both.distance, up.distance])
    assert sizes[1] > 1.2 * sizes[0]


def test_no_more_than_gamma_of_the_features_move() -> None:
    target, x = mirrored(32, 1), torch.full((1, 32), 0.5)
    least = float(target.distance(x, "l0"))
    goal = AwayFrom(target.answer(x))
    assert least > 2
    got = attack(JSMA(gamma=2.5 / 32), target, x, goal, FREE, Run())
    assert not got.success.any()


def test_frozen_features_do_not_move() -> None:
    target, x = mirrored(32, 2), torch.full((1, 32), 0.5)
    frozen = torch.arange(32) % 3 == 0
    masked = LinearTarget(target.weight, target.bias, Box(editable=~frozen))
    got = attack(JSMA(gamma=1.0), masked, x, AwayFrom(target.answer(x)), FREE, Run())
    assert got.success.all()
    assert torch.equal(got.x[:, frozen], x[:, frozen])


def test_digits_fall_by_few_pixels_where_as_many_random_ones_do_nothing(
    digit_target, digits
) -> None:
    x = digits[1].x[:32]
    own = digit_target.answer(x)
    got = attack(JSMA(gamma=0.5), digit_target, x, AwayFrom(own), FREE, Run())
    assert got.success.float().mean() > 0.9
    assert got.distance[got.success].median() <= 10
    noise = digit_target.space.random(x, Budget("l0", got.distance), Run().generator(0))
    assert (
        digit_target.answer(noise) == own
    ).float().mean() > got.success.logical_not().float().mean() + 0.2
