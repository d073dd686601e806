"""One step by hand, and where it must and must not succeed."""

from typing import ClassVar

import pytest
import torch

from holdfast.core.goal import AwayFrom, ToClass
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.fgsm import FGSM
from tests.oracles import check_fixed, check_masked, check_targeted, problem, two_class
from tests.toys import LinearTarget


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_one_step_is_the_whole_way_on_a_linear_model(norm: str) -> None:
    check_fixed(FGSM(), norm, *two_class(), slack=0.01)
    check_targeted(FGSM(), norm, slack=0.01)
    check_masked(FGSM(), norm, slack=0.01)


def proposals(method: FGSM, target: LinearTarget, x: torch.Tensor, goal, eps: float):
    """All inputs that the method tries when no row leaves, as changes in units of eps."""
    rng = torch.Generator().manual_seed(0)
    return [(c.x - x) / eps for c in method.run(target, x, goal, Budget("linf", eps), rng)]


def test_r_fgsm_is_half_a_step_of_random_signs_and_half_a_step_of_the_gradients() -> None:
    target, x = two_class()
    goal = AwayFrom(target.answer(x))
    still, start, end = proposals(FGSM("r-fgsm"), target, x, goal, 0.01)
    sign = target.gradient(x, goal.loss).wrt_input.sign()
    assert (still == 0).all()
    assert torch.allclose(start.abs(), torch.full_like(start, 0.5), atol=1e-4)
    assert 0.4 < (start > 0).float().mean() < 0.6
    assert torch.allclose(end, start + 0.5 * sign, atol=1e-4)


def test_fast_overshoots_from_a_uniform_start_and_is_cut_back() -> None:
    target, x = two_class()
    goal = AwayFrom(target.answer(x))
    _, start, end = proposals(FGSM("fast"), target, x, goal, 0.01)
    sign = target.gradient(x, goal.loss).wrt_input.sign()
    assert start.abs().max() <= 1.0001
    assert torch.allclose(end, (start + 1.25 * sign).clamp(-1, 1), atol=1e-4)
    assert 0.55 < (end * sign > 0.9999).float().mean() < 0.7  # where u > -1/4, five in eight


def test_the_least_likely_class_is_raised_at_the_cost_of_all_others() -> None:
    target, x = problem(classes=4)
    raw = target.scores(x)
    goal, rarest = AwayFrom(raw.argmax(1)), raw.argmin(1)
    _, end = proposals(FGSM(least_likely=True), target, x, goal, 0.01)
    mean = raw.softmax(1) @ target.weight.T  # d log p_r / dx = w_r - sum_k p_k w_k
    assert torch.allclose(end, (target.weight.T[rarest] - mean).sign(), atol=1e-4)


def test_a_wanted_class_is_not_replaced_by_the_least_likely_one() -> None:
    target, x = problem(classes=4)
    goal = ToClass(target.scores(x).topk(2).indices[:, 1])
    plain = proposals(FGSM(), target, x, goal, 0.01)[-1]
    assert torch.equal(proposals(FGSM(least_likely=True), target, x, goal, 0.01)[-1], plain)


def test_in_l1_the_steepest_feature_is_filled_before_the_next_one_moves() -> None:
    weight = torch.tensor([[-3.0, 3.0], [2.0, -2.0], [-1.0, 1.0]])
    target = LinearTarget(weight, torch.tensor([9.0, -9.0]))
    x, goal = torch.tensor([[0.7, 0.4, 0.5]]), AwayFrom(torch.tensor([0]))
    rng = torch.Generator()
    for eps, best in [(0.2, [0.9, 0.4, 0.5]), (0.5, [1, 0.2, 0.5]), (1.0, [1, 0, 0.8])]:
        end = [c.x for c in FGSM().run(target, x, goal, Budget("l1", eps), rng)][-1]
        assert torch.allclose(end, torch.tensor([best]), atol=1e-6)


class Counting(LinearTarget):
    """Counts the passes in a way of its own."""

    asked: ClassVar[list[int]] = [0]

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        self.asked[0] += len(x)
        return super().scores(x)


def test_it_costs_two_forward_passes_and_one_backward() -> None:
    target, x = two_class()
    counting = Counting(target.weight, target.bias)
    goal = AwayFrom(target.answer(x))
    got = attack(FGSM(), counting, x, goal, Budget("linf", 1e-6), Run())
    judged = len(x)
    assert (got.forwards, got.backwards) == (2 * len(x), len(x))
    assert counting.asked[0] == got.forwards + judged
