"""Carlini-Wagner against linear models, whose least change is known, and its parts by hand."""

import pytest
import torch

from holdfast.core.errors import NotApplicable
from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.carlini_wagner import CarliniWagner
from holdfast.evasion.carlini import L0, L2, Bisection, Linf, Settings
from holdfast.ops.box_transform import Adam, TanhBox
from tests.oracles import check_masked, check_minimum, check_targeted, problem, two_class
from tests.toys import LinearTarget

FINE = CarliniWagner(steps=150, step_size=0.02)
"""Toy boundaries are a few hundredths away: a step must be smaller than that."""


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_a_linear_model_falls_at_its_distance(norm: str) -> None:
    check_minimum(FINE, norm, *two_class(n=4))


@pytest.mark.parametrize("classes", [2, 3])
def test_as_few_features_move_as_can_do(classes: int) -> None:
    check_minimum(CarliniWagner(), "l0", *problem((64,), classes, n=4, spread=0.9))


def test_with_three_classes_no_row_falls_nearer_and_most_at_their_distance() -> None:
    """The best other score is not always the nearest boundary: there Adam finds a local minimum."""
    target, x = problem(n=8)
    got = attack(FINE, target, x, AwayFrom(target.answer(x)), Budget("l2", torch.inf), Run())
    ratio = got.distance / target.distance(x, "l2")
    assert got.success.all()
    assert (ratio > 1 - 1e-4).all()
    assert (ratio < 1.01).float().mean() >= 0.75
    assert ratio.max() < 1.5


@pytest.mark.parametrize("check", [check_targeted, check_masked])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_goals_and_masks_cost_what_they_must(check, norm: str) -> None:
    check(CarliniWagner(steps=60, step_size=0.02), norm, slack=0.05, shape=(6,))


def test_every_hit_has_the_confidence_that_was_asked_for() -> None:
    target, x = two_class(n=8)
    goal = AwayFrom(target.answer(x))
    for norm in ("l2", "linf"):
        method = CarliniWagner(steps=60, step_size=0.02, confidence=1.5)
        got = attack(method, target, x, goal, Budget(norm, torch.inf), Run())
        margin = goal.margin(target.scores(got.x))
        assert got.success.all()
        assert (margin >= 1.5).all()
        assert (margin < 1.6).all()


def test_black_and_white_features_can_move() -> None:
    """Where x is 0 or 1, arctanh is infinite and dx / dw zero unless x is taken inside."""
    target = LinearTarget.two_class(features=12)
    x = torch.tensor([[1.0] * 7 + [0.0] * 5])
    far = target.distance(x, "l2")
    got = attack(
        CarliniWagner(), target, x, AwayFrom(target.answer(x)), Budget("l2", torch.inf), Run()
    )
    assert got.success.all()
    assert float(got.distance) < 1.4 * float(far * (12 / 7) ** 0.5)  # only seven can go down


def test_bounds_without_end_are_refused() -> None:
    target = LinearTarget(torch.eye(2), torch.zeros(2), Box(low=0.0, high=torch.inf))
    x = torch.tensor([[0.6, 0.5]])
    with pytest.raises(NotApplicable, match="finite"):
        attack(FINE, target, x, AwayFrom(target.answer(x)), Budget("l2", torch.inf), Run())


def test_the_change_of_variables_is_its_own_inverse_and_has_the_right_slope() -> None:
    box = TanhBox(torch.tensor([0.0, -2.0, 1.0]), torch.tensor([1.0, 3.0, 1.0]), share=1 - 1e-9)
    x = torch.tensor([[0.2, 2.5, 1.0]], dtype=torch.double)
    w = box.open(x).requires_grad_()
    back, slope = box.close(w)
    assert torch.allclose(back, x, atol=1e-6)
    assert torch.allclose(torch.autograd.grad(back.sum(), w)[0], slope, atol=1e-6)


def test_adam_is_that_of_torch_for_every_row_by_itself() -> None:
    rng = torch.Generator().manual_seed(0)
    w = torch.zeros(2, 3)
    row = torch.zeros(1, 3, requires_grad=True)
    adam, torch_adam = Adam.of(w), torch.optim.Adam([row], lr=0.1)
    for step in range(6):
        grad = torch.randn(2, 3, generator=rng)
        if step == 2:
            adam.forget(torch.tensor([1]))  # the second row starts anew
        w = w - 0.1 * adam.step(grad)
        row.grad = grad[:1].clone()
        torch_adam.step()
    assert torch.allclose(w[:1], row.detach(), atol=1e-6)
    assert adam.count.tolist() == [6, 4]


def test_c_is_bisected_and_grows_tenfold_until_the_first_hit() -> None:
    plan = Bisection.of(Settings(1, 4, 0.1, 20, 0.9), torch.zeros(1, 2))
    seen = []
    for hit in (False, True, False, True):
        seen.append(float(plan.c))
        zero = torch.zeros(1)
        done, anew = plan.told(torch.tensor([hit]), torch.zeros(1, 2), torch.zeros(1, 2), zero)
        assert anew.all()
    assert seen == pytest.approx([0.1, 1.0, 0.55, 0.775])
    assert done.all()
    assert float(plan.c) == pytest.approx((0.55 + 0.775) / 2)


def test_the_multiplier_of_a_hit_bounds_c_from_below_and_the_first_c_is_thrice_that() -> None:
    """Margin <g, delta> - 5 with g = (3, 4): the nearest hit is g / 5 and its c is 2 / 5."""
    g, near = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.6, 0.8]])
    plan = L2.of(Settings(1, 9, 1e-3, 20, 0.9, enough=0.1), torch.zeros(1, 2))
    plan.begin(torch.tensor([5.0]), g, (-near, near))
    assert plan.c.tolist() == pytest.approx([3 * 0.4])
    hit, size = torch.tensor([True]), near.square().sum(1)
    done, anew = plan.told(hit, near, g, size)
    assert anew.all()
    assert not done.any(), "the first hit tells nothing about what another descent gains"
    assert plan.c.tolist() == pytest.approx([(0.4 + 1.2) / 2])
    assert plan.told(hit, 0.95 * near, g, 0.95**2 * size)[0].all(), "it gained less than a tenth"


def test_a_row_goes_on_while_descents_gain_and_c_grows_while_none_hits() -> None:
    plan = L2.of(Settings(1, 9, 0.1, 20, 0.9, enough=0.1), torch.zeros(1, 1))
    delta, no, yes = torch.ones(1, 1), torch.tensor([False]), torch.tensor([True])
    for c in (0.1, 1.0, 10.0):
        assert float(plan.c) == pytest.approx(c)
        assert not plan.told(no, delta, delta, torch.ones(1))[0].any()
    for size in (1.0, 0.8, 0.6):
        assert not plan.told(yes, size * delta, delta, torch.tensor([size**2]))[0].any()
    assert plan.told(yes, 0.57 * delta, delta, torch.tensor([0.57**2]))[0].all()


def test_digits_cost_a_fraction_of_all_steps_and_an_end_without_haste_gains_little(
    digit_target, digits
) -> None:
    x = digits[1].x[:12]
    goal, budget = AwayFrom(digit_target.answer(x)), Budget("l2", torch.inf)
    got = attack(CarliniWagner(), digit_target, x, goal, budget, Run())
    slow = attack(CarliniWagner(enough=0.0), digit_target, x, goal, budget, Run())
    assert got.success.all()
    assert got.backwards < 12 * 350  # of 900
    assert slow.backwards > 1.5 * got.backwards
    assert got.distance.median() < 1.05 * slow.distance.median()


@pytest.mark.parametrize("norm", ["l2", "linf", "l0"])
def test_units_of_the_features_change_nothing(norm: str) -> None:
    target, x = two_class((6,), n=4)
    scale = torch.tensor([0.25, 4.0, 1.0, 16.0, 0.5, 2.0])  # powers of two round alike
    box = Box(low=0.0, high=scale, scale=scale)
    other = LinearTarget(target.weight / scale.view(-1, 1), target.bias, box)
    goal, method = AwayFrom(target.answer(x)), CarliniWagner(steps=20, search_steps=3)
    plain = attack(method, target, x, goal, Budget(norm, torch.inf), Run())
    scaled = attack(method, other, x * scale, goal, Budget(norm, torch.inf), Run())
    assert plain.success.all()
    assert torch.allclose(scaled.x / scale, plain.x, atol=1e-4)


def test_tau_shrinks_after_a_hit_and_what_sticks_out_is_pulled_back() -> None:
    plan = Linf.of(Settings(5, 9, 0.1, 20, 0.9), torch.zeros(1, 3))
    delta = torch.tensor([[0.2, -0.5, 0.4]])
    plan.told(torch.tensor([True]), delta, delta, torch.zeros(1))
    assert float(plan.tau) == pytest.approx(0.45)
    cost, pull = plan.pull(delta)
    assert float(cost) == pytest.approx(0.05)
    assert pull.tolist() == [[0, -1, 0]]


def test_the_feature_that_can_do_least_is_frozen_first() -> None:
    plan = L0.of(Settings(5, 9, 0.1, 20, 0.9), torch.zeros(1, 4))
    delta, gain = torch.tensor([[0.3, 0.2, 0.00001, 0.1]]), torch.tensor([[1.0, 0.1, 9.0, 0.5]])
    plan.told(torch.tensor([True]), delta, gain, torch.zeros(1))
    assert plan.free.tolist() == [[1, 0, 0, 1]]


def test_digits_fall_as_near_as_a_projected_search_finds(digit_target, digits) -> None:
    """Against DeepFool, which gives an upper bound of the distance by other means."""
    from holdfast.evasion.attacks.deepfool import DeepFool

    x = digits[1].x[:12]
    goal, budget = AwayFrom(digit_target.answer(x)), Budget("l2", torch.inf)
    fast = attack(DeepFool(), digit_target, x, goal, budget, Run())
    got = attack(CarliniWagner(), digit_target, x, goal, budget, Run())
    assert got.success.all()
    assert got.distance.median() < 1.02 * fast.distance.median()
