"""Threshold attack: its range, its queries, and linear models."""

import pytest
import torch

from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.threshold import Threshold
from holdfast.evasion.scored import Problem
from tests.black_box import check_beats_noise, check_counted, check_done_rows_are_free
from tests.oracles import check_fixed, check_masked, check_targeted, two_class
from tests.toys import LinearTarget


def test_genes_span_the_ball_of_each_row_within_the_box() -> None:
    target = LinearTarget.two_class(3)
    x = torch.tensor([[0.5, 0.05, 0.9], [0.5, 0.5, 0.5]])
    goal = AwayFrom(target.answer(x))
    at = Problem(target, x, goal, Budget("linf", torch.tensor([0.2, 0.01])))
    ends = torch.tensor([[[0.0] * 3, [0.5] * 3, [1.0] * 3]]).expand(2, -1, -1)
    got = Threshold()._decode(at, ends)
    want = torch.tensor([[[0.3, 0, 0.7], [0.5, 0.05, 0.9], [0.7, 0.25, 1]],
                         [[0.49] * 3, [0.5] * 3, [0.51] * 3]])  # fmt: skip
    assert torch.allclose(got, want, atol=1e-6)


def test_a_crossover_of_zero_copies_the_parents() -> None:
    genes = torch.rand(2, 8, 3, generator=torch.Generator().manual_seed(0))
    fitness = torch.arange(16.0).view(2, 8)
    rng = torch.Generator().manual_seed(1)
    assert torch.equal(Threshold(crossover=0.0)._children(genes, fitness, rng), genes)
    whole = Threshold()._children(genes, fitness, rng)
    half = Threshold(crossover=0.5)._children(genes, fitness, rng)
    assert float((whole == genes).float().mean()) < 0.1
    assert 0.2 < float((half == genes).float().mean()) < 0.8


@pytest.mark.parametrize("shape", [(12,), (2, 2, 3)])
def test_a_linear_model_falls_as_soon_as_its_boundary_is_inside_the_ball(
    shape: tuple[int, ...],
) -> None:
    """Without crossover one of 16 rows needs up to a tenth more."""
    target, x = two_class(shape)
    check_fixed(Threshold(steps=60, population=60, crossover=0.5), "linf", target, x)
    check_fixed(Threshold(steps=60, population=100), "linf", target, x, slack=0.12)


def test_towards_a_class_and_under_a_mask() -> None:
    method = Threshold(steps=60, population=60, crossover=0.5)
    check_targeted(method, "linf", shape=(12,))
    check_masked(method, "linf", shape=(12,))


def test_budgets_are_counted_in_the_units_of_the_space() -> None:
    plain, x = two_class((12,))
    scale = torch.logspace(-2, 2, 12)
    target = LinearTarget(
        plain.weight / scale.unsqueeze(1), plain.bias, Box(torch.zeros(12), scale, scale)
    )
    eps, goal = 1.1 * plain.distance(x, "linf"), AwayFrom(plain.answer(x))
    method = Threshold(steps=60, population=60, crossover=0.5)
    got = attack(method, target, x * scale, goal, Budget("linf", eps), Run())
    assert got.success.all()


def test_queries_are_one_per_member_and_generation() -> None:
    got = check_counted(Threshold(steps=3, population=10), "linf")
    assert got.forwards == 5 * (1 + 10 * 4)
    check_done_rows_are_free(Threshold(), "linf")


def test_digits_fall_that_noise_of_the_same_size_leaves(digit_target, digits) -> None:
    method = Threshold(steps=30, population=60, crossover=0.5)
    check_beats_noise(method, digit_target, digits[1], "linf", 0.18)
