"""Evolution strategies: their updates by hand, their queries, and linear models."""

import pytest
import torch

from holdfast.core.errors import NotApplicable
from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.nes import NES
from holdfast.evasion.scored import Problem, margin, odds
from holdfast.ops import balls, estimates
from tests.black_box import check_beats_noise, check_counted, check_done_rows_are_free
from tests.oracles import check_fixed, check_masked, check_targeted, two_class
from tests.toys import LinearTarget

EACH = pytest.mark.parametrize("estimator", ["nes", "spsa", "n_attack"])


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@EACH
def test_a_linear_model_falls_as_soon_as_its_boundary_is_inside_the_ball(
    estimator: str, norm: str
) -> None:
    """Adam moves all features alike at first, so SPSA needs a tenth more in L2."""
    target, x = two_class((12,))
    slack = 0.12 if (estimator, norm) == ("spsa", "l2") else 0.05
    check_fixed(NES(estimator=estimator, steps=60), norm, target, x, slack=slack)


@EACH
def test_towards_a_class_and_under_a_mask(estimator: str) -> None:
    method = NES(estimator=estimator, steps=60)
    check_targeted(method, "linf", slack=0.1, shape=(12,))
    check_masked(method, "linf", slack=0.1, shape=(12,))


@pytest.mark.parametrize(("estimator", "cost"), [("nes", 51), ("spsa", 129), ("n_attack", 301)])
def test_queries_per_step_are_the_published_ones_and_one_more(estimator: str, cost: int) -> None:
    got = check_counted(NES(estimator=estimator, steps=3), "linf")
    assert got.forwards == 5 * (1 + 3 * cost)
    check_done_rows_are_free(NES(estimator=estimator), "linf")


def at_start() -> tuple[Problem, torch.Tensor]:
    target, x = two_class((10,), n=4)
    goal = AwayFrom(target.answer(x))
    return Problem(target, x, goal, Budget("linf", 0.01)), x


def test_two_steps_of_nes_by_hand() -> None:
    at, x = at_start()
    steps = [c.x for c in NES(steps=2).run(at.target, x, at.goal, at.budget, generator())][1:]
    rng, momentum, adv = generator(), torch.zeros_like(x), x
    for step in steps:
        grad, _ = estimates.antithetic(at.losses(odds), adv, 1e-3, 25, rng)
        momentum = 0.9 * momentum + 0.1 * grad
        adv = x + (adv + 0.2 * 0.01 * momentum.sign() - x).clamp(-0.01, 0.01)
        assert torch.allclose(step, adv, atol=1e-6)


def test_two_steps_of_spsa_by_hand() -> None:
    """The gradient is taken at the perturbed input itself, not at the clean input plus it twice."""
    at, x = at_start()
    method = NES(estimator="spsa", steps=2)
    steps = [c.x for c in method.run(at.target, x, at.goal, at.budget, generator())][1:]
    rng, adv = generator(), x
    first = second = torch.zeros_like(x)
    for t, step in enumerate(steps, 1):
        grad, _ = estimates.antithetic(at.losses(margin), adv, 0.01, 64, rng, signs=True)
        first, second = 0.9 * first + 0.1 * grad, 0.999 * second + 0.001 * grad**2
        way = first / (1 - 0.9**t) / ((second / (1 - 0.999**t)).sqrt() + 1e-8)
        adv = x + (adv + 0.2 * 0.01 * way - x).clamp(-0.01, 0.01)
        assert torch.allclose(step, adv, atol=1e-6)


def test_the_mean_of_n_attack_stays_in_the_box_and_its_start_is_the_input() -> None:
    at, _ = at_start()
    method, state = NES(estimator="n_attack", step_size=1e-9), [torch.zeros_like(at.x)] * 4
    same = method._mean(at, at.x, list(state), 1, generator())
    assert torch.allclose(same, at.x, atol=1e-6)
    moved = NES(estimator="n_attack")._mean(at, at.x, list(state), 1, generator())
    slope = at.target.weight[:, 1] - at.target.weight[:, 0]  # type: ignore[attr-defined]
    uphill = torch.where(at.goal.labels == 0, 1.0, -1.0).view(-1, 1) * slope
    assert (torch.cosine_similarity(moved - at.x, uphill) > 0.5).all()


def test_the_step_is_halved_where_the_loss_stops_growing() -> None:
    """On a loss that only falls, five values in a row halve it, and never below its floor."""
    at, x = at_start()
    state = [
        torch.zeros_like(x),
        torch.zeros_like(x),
        torch.ones(4),
        torch.full((4, 5), -torch.inf),
    ]
    sizes, adv = [], x
    for t in range(1, 80):
        worse = x - 1e-4 * t * odds_gradient(at)
        adv = NES(samples=100)._nes(at, worse, state, t, generator())
        sizes.append(float(state[2][0]))
    assert adv.shape == x.shape
    assert sizes[:5] == [1, 1, 1, 1, 0.5]
    assert sizes[-1] == pytest.approx(1e-3 / 0.2)


def odds_gradient(at: Problem) -> torch.Tensor:
    grad = at.target.gradient(at.x, lambda raw: odds(at.goal, raw)).wrt_input  # type: ignore[attr-defined]
    return balls.steepest(grad, "l2")


def test_log_odds_have_the_direction_of_cross_entropy() -> None:
    target, x = two_class((12,))
    target = LinearTarget(target.weight / 10, target.bias / 10)
    goal = AwayFrom(target.answer(x))
    a = target.gradient(x, goal.loss).wrt_input
    b = target.gradient(x, lambda raw: odds(goal, raw)).wrt_input
    assert torch.allclose(balls.steepest(a, "l2"), balls.steepest(b, "l2"), atol=1e-5)


def test_n_attack_needs_bounds() -> None:
    plain, x = two_class((8,))
    target = LinearTarget(plain.weight, plain.bias, Box(-torch.inf, torch.inf))
    goal = AwayFrom(target.answer(x))
    with pytest.raises(NotApplicable, match="bounds"):
        attack(NES(estimator="n_attack"), target, x, goal, Budget("linf", 0.1), Run())
    got = attack(NES(steps=40), target, x, goal, Budget("linf", 0.5), Run())
    assert got.success.all()


@pytest.mark.parametrize(
    "method",
    [
        NES(steps=25),
        NES(estimator="spsa", steps=15),
        # larger steps than published: with 0.02, black pixels take hundreds of steps
        NES(estimator="n_attack", steps=25, samples=100, step_size=0.1),
    ],
    ids=lambda m: m.estimator,
)
def test_digits_fall_that_noise_of_the_same_size_leaves(digit_target, digits, method: NES) -> None:
    check_beats_noise(method, digit_target, digits[1], "linf", 0.15)
