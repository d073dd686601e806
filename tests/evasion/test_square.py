"""Square attack: its schedule, a step by hand, what its windows conserve, and linear models."""

import pytest
import torch

from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.engine.evasion import attack
from holdfast.evasion import windows
from holdfast.evasion.attacks.square import Square
from holdfast.ops import balls, squares
from tests.black_box import check_beats_noise, check_counted, check_done_rows_are_free
from tests.oracles import check_fixed, check_masked, check_targeted, two_class
from tests.toys import LinearTarget


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("step", "share"),
    [(0, 0.8), (5, 0.8), (6, 0.4), (25, 0.4), (26, 0.2), (100, 0.2), (101, 0.1), (250, 0.1),
     (251, 0.05), (500, 0.05), (501, 0.025), (1000, 0.025), (1001, 0.0125), (2000, 0.0125),
     (2001, 0.00625), (3000, 0.00625), (3001, 0.003125), (4000, 0.003125), (4001, 0.0015625),
     (4999, 0.0015625)],
)  # fmt: skip
def test_the_share_of_pixels_halves_at_the_published_moments(step: int, share: float) -> None:
    assert Square().share(step) == pytest.approx(share)


def test_without_rescaling_the_moments_are_those_of_ten_thousand_steps() -> None:
    fixed = Square(steps=100, resc_schedule=False)
    assert [fixed.share(i) for i in (10, 11, 51, 99)] == pytest.approx([0.8, 0.4, 0.2, 0.2])
    assert Square(steps=100).share(99) == pytest.approx(0.8 / 512)


def test_window_sides_are_those_of_the_authors() -> None:
    assert squares.side(0.8 * 1024, 32, 32) == (29, 29)
    assert squares.side(0.8 * 1024 / 512, 32, 32) == (1, 1)
    assert squares.side(0.8 * 1024 / 2, 32, 32, least=3) == (21, 21)  # 20.2 rounds to an even 20
    assert squares.side(0.8 * 784, 28, 28, least=3) == (25, 25)
    assert squares.side(1, 2, 2, least=3) == (2, 2)
    assert squares.side(8, 1, 10) == (1, 8)


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_a_bump_is_two_opposite_halves_of_nested_rectangles(norm: str) -> None:
    """The golden values follow from eq. 2 for a window of three: 1 row above, 2 rows below."""
    window = squares.halves((3, 3), norm, False)
    fall = 0.25 if norm == "l2" else 1 / 16
    upper = torch.tensor([[fall, 1 + fall, fall]])
    lower = torch.tensor([[fall, fall, fall], [fall, 1 + fall, fall]])
    upper, lower = (v / balls.size(v.unsqueeze(0), norm) for v in (upper, lower))
    whole = torch.cat([upper, -lower])
    assert torch.allclose(window, whole / balls.size(whole.unsqueeze(0), norm))
    assert torch.equal(squares.halves((3, 3), norm, True), window.T)
    assert squares.halves((1, 5), norm, False).shape == (1, 5)
    assert float(
        balls.size(squares.halves((1, 5), norm, False).unsqueeze(0), norm)
    ) == pytest.approx(1)


def test_moving_mass_keeps_the_norm_and_touches_only_two_windows() -> None:
    delta = torch.randn(6, 1, 8, 8, generator=rng())
    eps = balls.size(delta, "l2")
    new = squares.moved(delta, eps, (3, 3), "l2", rng(1))
    assert torch.allclose(balls.size(new, "l2"), eps, rtol=1e-5)
    changed = (new != delta).flatten(1).sum(1)
    assert (changed <= 18).all()
    assert (changed >= 9).all()
    emptied = ((new == 0) & (delta != 0)).flatten(1).sum(1)
    assert (emptied <= 9).all()
    assert (emptied > 0).any()


def test_what_is_missing_to_the_budget_is_given_to_the_window() -> None:
    delta = torch.randn(6, 1, 8, 8, generator=rng())
    eps = 2 * balls.size(delta, "l2")
    assert torch.allclose(balls.size(squares.moved(delta, eps, (3, 3), "l2", rng(1)), "l2"), eps)
    eps = 2 * balls.size(delta, "l1")
    assert torch.allclose(balls.size(squares.moved(delta, eps, (3, 3), "l1", rng(1)), "l1"), eps)


def test_every_place_is_tried_and_rows_have_windows_of_their_own() -> None:
    top, left = squares.corners(2000, (2, 2), 5, 4, rng())
    assert sorted(set(top.tolist())) == [0, 1, 2, 3]
    assert sorted(set(left.tolist())) == [0, 1, 2]
    mask = squares.mask(top, left, (2, 2), torch.zeros(2000, 3, 5, 4))
    assert (mask.flatten(1).sum(1) == 4).all()


def test_a_row_visits_every_place_once_before_any_again_in_an_order_of_its_own() -> None:
    walk = torch.rand(5, 2, generator=rng())
    pixels = squares.visited(walk, range(7, 7 + 40), (2, 3), 6, 10)
    assert pixels.shape == (5, 40, 6)
    corner = pixels[..., 0]
    for row in corner:
        assert sorted(row.tolist()) == sorted(10 * i + j for i in range(5) for j in range(8))
    assert len({tuple(row.tolist()) for row in corner}) == 5
    inside = (pixels - corner.unsqueeze(2)).unique(dim=1).squeeze(1)
    assert torch.equal(inside[0], torch.tensor([0, 1, 2, 10, 11, 12]))
    again = squares.visited(walk, range(47, 87), (2, 3), 6, 10)
    assert torch.equal(again, pixels)


def corners_of(shape: tuple[int, ...], n: int = 4) -> windows.Corners:
    x = torch.rand(n, *shape, generator=rng())
    target = LinearTarget(torch.zeros(x[0].numel(), 2), torch.zeros(2))
    return windows.Corners.of(target, x, Budget("linf", 0.1), rng())


def test_every_linf_proposal_changes_something_and_only_within_one_window() -> None:
    ball = corners_of((2, 8, 8))
    at = ball.first(rng(1))
    at[:2] = True  # here half of all draws of one channel's sign would change nothing
    trial = ball.proposals(at, 4 / 64, 0, 30, rng(2))
    changed = trial ^ at.unsqueeze(1)
    assert changed.flatten(2).any(2).all()
    rows, columns = changed.any(2).any(3), changed.any(2).any(2)
    for hit in (rows, columns):
        place = torch.arange(8).expand_as(hit)
        spread = place.masked_fill(~hit, -1).amax(2) - place.masked_fill(~hit, 9).amin(2)
        assert (spread < 2).all()
    new = trial[changed].float().mean()
    assert 0.1 < float(new) < 0.5  # where all bits are one they can only fall


def test_proposals_that_won_are_made_together_on_top_of_what_is_kept() -> None:
    ball = corners_of((1, 6, 6))
    before = ball.first(rng(1))
    trial = ball.proposals(before, 1 / 36, 0, 6, rng(2))
    won = torch.zeros(4, 6, dtype=torch.bool)
    won[0, [1, 3]] = won[2, 5] = True
    kept = trial[:, 0]
    got = ball.together(before, kept, trial, won)
    assert torch.equal(got[[1, 3]], kept[[1, 3]])
    assert torch.equal(got[0], kept[0] ^ (trial[0, 1] ^ before[0]) ^ (trial[0, 3] ^ before[0]))
    assert torch.equal(got[2], kept[2] ^ (trial[2, 5] ^ before[2]))
    points = ball.points(got.unsqueeze(1)).squeeze(1)
    assert torch.equal(points == ball.up, got)


def test_together_in_l2_the_changes_are_added_and_the_whole_is_as_large_as_the_budget() -> None:
    x = torch.full((3, 1, 6, 6), 0.5)
    target = LinearTarget(torch.zeros(36, 2), torch.zeros(2))
    goal, budget = AwayFrom(torch.zeros(3).long()), Budget("l2", 0.3)
    ball = windows.ball(target, x, goal, budget, rng())
    before = ball.first(rng(1))
    trial = ball.proposals(before, 0.1, 0, 4, rng(2))
    won = torch.tensor([[False, True, True, False]]).expand(3, 4)
    got = ball.together(before, trial[:, 0], trial, won) - x
    total = trial[:, 0] - x + (trial[:, 1] - before) + (trial[:, 2] - before)
    assert torch.allclose(got, 0.3 * total / balls.size(total, "l2").view(-1, 1, 1, 1), atol=1e-6)


class Watched(LinearTarget):
    """Keeps every batch it is asked for."""

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        self.__dict__.setdefault("log", []).append(x.clone())
        return super().scores(x)


def watched(shape: tuple[int, ...]) -> tuple[Watched, torch.Tensor]:
    plain, x = two_class(shape, n=3)
    return Watched(plain.weight, plain.bias), x


def test_linf_proposals_lie_on_corners_of_the_ball_and_differ_within_one_square() -> None:
    target, x = watched((2, 6, 6))
    eps = 0.02
    attack(
        Square(steps=60, at_once=1),
        target,
        x,
        AwayFrom(target.answer(x)),
        Budget("linf", eps),
        Run(),
    )
    asked = torch.stack(target.__dict__["log"][2:-1])  # without two looks at the clean inputs
    sign = (asked - x) / eps
    assert torch.allclose(sign.abs(), torch.ones_like(sign), atol=1e-4)
    assert (sign[0].std(2) < 1e-4).all(), "the first proposal is made of vertical stripes"
    kept = sign[0]
    score = (target.scores(asked[0])[:, 0] - target.scores(asked[0])[:, 1]).abs()
    for step, proposal in enumerate(sign[1:]):
        side = max(round((Square(steps=60).share(step) * 36) ** 0.5), 1)
        for row in range(3):
            rows, columns = ((proposal - kept)[row].abs().amax(0) > 1).nonzero().unbind(1)
            if len(rows):
                assert int(rows.max() - rows.min()) < side
                assert int(columns.max() - columns.min()) < side
        raw = target.scores(x + eps * proposal)
        now = (raw[:, 0] - raw[:, 1]).abs()
        better = now < score  # no row falls at this size, so the gap shows how near it is
        kept = torch.where(better.view(-1, 1, 1, 1), proposal, kept)
        score = torch.minimum(score, now)


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_proposals_use_the_whole_budget(norm: str) -> None:
    target, x = watched((1, 6, 6))
    eps = target.distance(x, norm) / 2
    attack(
        Square(steps=40, at_once=1), target, x, AwayFrom(target.answer(x)), Budget(norm, eps), Run()
    )
    asked = torch.stack(target.__dict__["log"][2:-1])
    size = torch.stack([balls.size(each - x, norm) for each in asked])
    assert (size <= eps * 1.001 + 1e-6).all()
    assert (size[5:] >= eps * 0.99).all()


@pytest.mark.parametrize("shape", [(24,), (2, 9), (3, 4, 4)])
def test_a_linear_model_falls_as_soon_as_its_boundary_is_inside_the_linf_ball(
    shape: tuple[int, ...],
) -> None:
    target, x = two_class(shape)
    check_fixed(Square(steps=500), "linf", target, x)


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_a_linear_model_falls_within_half_more_than_the_minimum(norm: str) -> None:
    """Windows of three and more cannot follow a random weight vector any closer in 500 steps."""
    target, x = two_class((12,), n=6)
    check_fixed(Square(steps=500), norm, target, x, slack=0.5)


def test_towards_a_class_and_under_a_mask() -> None:
    check_targeted(Square(steps=500), "linf")
    check_masked(Square(steps=500), "linf")
    check_masked(Square(steps=500), "l2", slack=0.6)


def test_budgets_are_counted_in_the_units_of_the_space() -> None:
    plain, x = two_class((12,))
    scale = torch.logspace(-2, 2, 12)
    space = Box(torch.zeros(12), scale, scale)
    target = LinearTarget(plain.weight / scale.unsqueeze(1), plain.bias, space)
    eps = 1.05 * plain.distance(x, "linf")
    goal = AwayFrom(plain.answer(x))
    got = attack(Square(steps=400), target, x * scale, goal, Budget("linf", eps), Run())
    assert got.success.all()


def test_a_pass_asks_about_more_proposals_as_the_run_goes_on_but_no_more_in_all() -> None:
    target, x = watched((1, 6, 6))
    eps = target.distance(x, "linf") / 4
    goal = AwayFrom(target.answer(x))
    target.__dict__["log"].clear()
    attack(Square(steps=50), target, x, goal, Budget("linf", eps), Run())
    asked = [len(points) // 3 for points in target.__dict__["log"][1:-1]]  # no clean inputs
    assert asked == [1] * 17 + [2] * 8 + [3] * 6
    assert sum(asked) == 1 + 50


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_many_proposals_in_a_pass_find_about_as_much_as_one(
    digit_target, digits, norm: str
) -> None:
    x = digits[1].x[:40]
    goal, budget = AwayFrom(digit_target.answer(x)), Budget(norm, {"linf": 0.08, "l2": 0.7}[norm])
    fell = {
        at_once: int(
            attack(Square(200, at_once=at_once), digit_target, x, goal, budget, Run()).success.sum()
        )
        for at_once in (1, 16)
    }
    assert 4 <= fell[1] <= 36
    assert abs(fell[16] - fell[1]) <= 5


def test_one_query_per_step_and_row_and_restarts_begin_anew() -> None:
    got = check_counted(Square(steps=7), "linf")
    assert got.forwards == 5 * (1 + 1 + 7)
    assert check_counted(Square(steps=7, restarts=3), "l2").forwards == 5 * (1 + 3 * 8)
    check_done_rows_are_free(Square(), "linf")


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.15), ("l2", 1.2), ("l1", 6.0)])
def test_digits_fall_that_noise_of_the_same_size_leaves(
    digit_target, digits, norm: str, eps: float
) -> None:
    check_beats_noise(Square(steps=300), digit_target, digits[1], norm, eps)
