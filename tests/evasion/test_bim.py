"""The basic iterative method: closed forms, and its steps by hand."""

import pytest
import torch

from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.bim import BIM
from tests.oracles import check_fixed, check_masked, check_targeted, problem, two_class


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_succeeds_exactly_within_the_distance(norm: str) -> None:
    check_fixed(BIM(), norm, *two_class(), slack=0.01)
    check_targeted(BIM(), norm, slack=0.01)
    check_masked(BIM(), norm, slack=0.01)


def tries(method: BIM, target, x, eps: float) -> list[torch.Tensor]:
    """Changes in units of eps that are tried when no row leaves."""
    goal, rng = AwayFrom(target.answer(x)), torch.Generator()
    return [(c.x - x) / eps for c in method.run(target, x, goal, Budget("linf", eps), rng)]


def test_steps_are_equal_start_at_the_input_and_stop_at_the_surface() -> None:
    target, x = two_class()
    sign = target.gradient(x, AwayFrom(target.answer(x)).loss).wrt_input.sign()
    got = tries(BIM(steps=4), target, x, 0.01)
    for change, share in zip(got, [0, 1.25 / 4, 2.5 / 4, 3.75 / 4, 1], strict=True):
        assert torch.allclose(change, share * sign, atol=1e-4)


def test_least_likely_goes_on_towards_the_class_that_was_least_likely_at_first() -> None:
    target, x = problem(classes=5, spread=0.8)
    raw = target.scores(x)
    rarest = raw.argmin(1)
    got = attack(
        BIM(steps=40, least_likely=True), target, x, AwayFrom(raw.argmax(1)),
        Budget("linf", torch.inf), Run(),
    )  # fmt: skip
    assert got.success.all()
    last = tries(BIM(steps=40, least_likely=True), target, x, 0.4)[-1]
    assert (target.answer(x + 0.4 * last) == rarest).all()
    plain = tries(BIM(steps=40), target, x, 0.4)[-1]
    assert (target.answer(x + 0.4 * plain) == rarest).float().mean() < 0.7


def test_no_pass_is_wasted() -> None:
    target, x = two_class()
    goal = AwayFrom(target.answer(x))
    got = attack(BIM(steps=6), target, x, goal, Budget("linf", 1e-6), Run())
    assert (got.forwards, got.backwards) == (7 * len(x), 6 * len(x))
