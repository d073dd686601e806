"""Parsimonious attack: its local search against exhaustive search, its queue, and its blocks."""

from itertools import pairwise, product

import torch

from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.discrete import Discrete
from holdfast.evasion.greedy import blocks_of
from holdfast.evasion.scored import odds
from tests.black_box import Counting, check_beats_noise, check_counted, check_done_rows_are_free
from tests.oracles import check_fixed, check_masked, check_targeted, two_class
from tests.toys import LinearTarget


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def last(method: Discrete, target: LinearTarget, x: torch.Tensor, eps: float) -> list[torch.Tensor]:
    goal = AwayFrom(target.answer(x))
    return [c.x for c in method.run(target, x, goal, Budget("linf", eps), generator())]


def test_on_a_linear_model_one_round_finds_the_best_of_all_corners() -> None:
    target, x = two_class((8,), n=4)
    goal, eps = AwayFrom(target.answer(x)), 1e-3
    seen = last(Discrete(steps=1), target, x, eps)
    corners = torch.tensor(list(product((-1.0, 1.0), repeat=8)))
    every = odds(goal.take(torch.arange(4).repeat_interleave(256)),
                 target.scores((x.unsqueeze(1) + eps * corners).flatten(0, 1)))  # fmt: skip
    best = every.view(4, 256).amax(1)
    reached = torch.stack([odds(goal, target.scores(each)) for each in seen]).amax(0)
    assert torch.allclose(reached, best, atol=1e-4)


def test_lazy_greedy_asks_once_per_block_and_once_more_per_gain() -> None:
    """On a linear model, where no gain is ever outdated.

    A scan of all D blocks; the best is taken without asking again, the P - 1 others that help are
    asked for once more, and one that does not ends it. Then the P blocks inside are scanned, and
    none is taken out.
    """
    plain, x = two_class((9,), n=1)
    target = Counting(plain.weight, plain.bias)
    slope = plain.gradient(x, lambda raw: odds(AwayFrom(plain.answer(x)), raw)).wrt_input
    helps = int((slope > 0).sum())
    last(Discrete(steps=1), target, x, 1e-3)
    wanted = 1 + 1 + 9 + (helps - 1) + (helps < 9) + helps
    assert sum(target.seen) - 1 == wanted  # one by the test itself, to learn the label


def test_a_flip_that_turned_out_wrong_is_taken_back() -> None:
    """Two features that help alone and harm together: a queue of old gains would keep both."""

    class Rivalry(LinearTarget):
        def scores(self, x: torch.Tensor) -> torch.Tensor:
            up = ((x - 0.5) > 0).float()
            lead = 1.0 * up[:, 0] + 0.9 * up[:, 1] - 2.0 * up[:, 0] * up[:, 1] - 5
            return torch.stack([-lead / 2, lead / 2], 1)

    target = Rivalry(torch.zeros(2, 2), torch.zeros(2))
    x = torch.full((1, 2), 0.5)
    seen = last(Discrete(steps=2, batch=2), target, x, 0.1)
    values = [float(target.scores(each)[0, 1]) for each in seen]
    assert max(values) == max(float(target.scores(x + 0.1 * torch.tensor([s]))[0, 1])
                              for s in product((-1.0, 1.0), repeat=2))  # fmt: skip
    settled = x + 0.1 * torch.tensor([[1.0, -1.0]])
    asked_from = [each for each in seen[-2:] if (each - settled).abs().sum() < 0.21]
    assert asked_from, "the last questions start at the best corner"


def test_blocks_tile_every_channel_and_shrink_by_half_each_round() -> None:
    ids = blocks_of(torch.zeros(2, 5, 6), 2)
    assert int(ids.max()) == 2 * 3 * 3 - 1
    assert ids[0, 0, 0] == ids[0, 1, 1]
    assert len({int(ids[c, i, j]) for c in (0, 1) for i in (0, 2, 4) for j in (0, 2, 4)}) == 18
    target, x = two_class((1, 8, 8), n=1)
    eps = 1e-4
    seen = last(Discrete(steps=3, block=4), target, x, eps)
    sizes = [int(((b - a).abs() > eps).sum()) for a, b in pairwise(seen[1:])]
    assert all(size % 16 == 0 for size in sizes[:5]), "whole blocks of 16 pixels at first"
    assert 1 in sizes[-20:]


def test_a_linear_model_falls_as_soon_as_its_boundary_is_inside_the_ball() -> None:
    for shape in ((12,), (3, 4, 4)):
        target, x = two_class(shape)
        check_fixed(Discrete(steps=3), "linf", target, x, slack=0.01)


def test_towards_a_class_and_under_a_mask() -> None:
    check_targeted(Discrete(steps=2), "linf", slack=0.01)
    check_masked(Discrete(steps=2), "linf", slack=0.01)


def test_inputs_lie_on_corners_of_the_ball_and_queries_are_counted() -> None:
    target, x = two_class((10,), n=3)
    for each in last(Discrete(steps=2), target, x, 0.01)[1:]:
        assert torch.allclose((each - x).abs(), torch.full_like(x, 0.01), atol=1e-6)
    check_counted(Discrete(steps=2), "linf")
    check_counted(Discrete(steps=2, batch=3), "linf", shape=(2, 3, 3))
    check_done_rows_are_free(Discrete(), "linf")


def test_a_row_that_a_round_did_not_change_asks_no_more() -> None:
    """A linear model is solved in one round; the second only finds that nothing improves."""
    target, x = two_class((7,), n=4)
    one, two, many = (len(last(Discrete(steps=k), target, x, 1e-3)) for k in (1, 2, 10))
    assert one < two == many


def test_rows_search_alone_or_together_with_the_same_result() -> None:
    """With one batch of all blocks the order does not matter, and neither does the company."""
    target, x = two_class((12,), n=6)
    goal = AwayFrom(target.answer(x))
    eps = 1.02 * target.distance(x, "linf")
    whole = attack(Discrete(steps=1), target, x, goal, Budget("linf", eps), Run())
    for i in range(6):
        one = torch.tensor([i])
        alone = attack(
            Discrete(steps=1), target, x[one], goal.take(one), Budget("linf", eps[one]), Run()
        )
        assert bool(alone.success) == bool(whole.success[i])


def test_digits_fall_that_noise_of_the_same_size_leaves(digit_target, digits) -> None:
    check_beats_noise(Discrete(steps=2), digit_target, digits[1], "linf", 0.15)
