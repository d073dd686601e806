"""Momentum by hand, closed forms, and a valley that only momentum crosses."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.core.target import Gradient
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.bim import BIM
from holdfast.evasion.attacks.mi_fgsm import MIFGSM
from holdfast.targets.torch import backward
from tests.oracles import check_fixed, check_masked, check_targeted, problem, two_class
from tests.toys import LinearTarget


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_succeeds_exactly_within_the_distance(norm: str) -> None:
    check_fixed(MIFGSM(), norm, *two_class(), slack=0.01)
    check_targeted(MIFGSM(), norm, slack=0.01)
    check_masked(MIFGSM(), norm, slack=0.01)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_two_steps_are_those_of_the_paper(norm: str) -> None:
    target, x = problem(classes=4, seed=3)
    goal, eps = AwayFrom(target.answer(x)), 0.08
    rng = torch.Generator()
    tried = [c.x for c in MIFGSM(steps=2, decay=0.7).run(target, x, goal, Budget(norm, eps), rng)]

    def unit(g: Tensor) -> Tensor:
        return g.sign() if norm == "linf" else g / g.square().sum(1, keepdim=True).sqrt()

    def share(g: Tensor) -> Tensor:
        return g / g.abs().sum(1, keepdim=True)

    first = share(target.gradient(x, goal.loss).wrt_input)
    one = x + eps / 2 * unit(first)
    second = 0.7 * first + share(target.gradient(one, goal.loss).wrt_input)
    two = one + eps / 2 * unit(second)
    assert torch.equal(tried[0], x)
    assert torch.allclose(tried[1], one, atol=1e-6)
    assert torch.allclose(tried[2], two, atol=1e-6)


def test_without_decay_of_memory_it_is_bim_with_steps_of_eps_over_steps() -> None:
    target, x = problem(classes=4)
    goal, budget = AwayFrom(target.answer(x)), Budget("linf", 0.02)
    plain = BIM(steps=5, step_size=1.0).run(target, x, goal, budget, torch.Generator())
    none = MIFGSM(steps=5, decay=0.0).run(target, x, goal, budget, torch.Generator())
    for one, other in zip(none, plain, strict=True):
        assert torch.allclose(one.x, other.x, atol=1e-6)


@dataclass(frozen=True)
class Ripple:
    """Class 1 beyond 0.9; on the way the loss has a dip that turns plain steps back."""

    space: Box = field(default_factory=Box)

    def scores(self, x: Tensor) -> Tensor:
        first = x[:, 0]
        dip = 0.4 * torch.exp(-(((first - 0.62) / 0.03) ** 2))
        lead = first - 0.9 - dip
        return 20 * torch.stack([-lead, lead], 1)

    def decode(self, raw: Tensor) -> Tensor:
        return raw.argmax(1)

    def answer(self, x: Tensor) -> Tensor:
        return self.decode(self.scores(x))

    def gradient(self, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Gradient:
        x = x.detach().requires_grad_()
        raw = self.scores(x)
        return Gradient(backward(loss(raw), x), raw.detach())


def test_momentum_crosses_a_dip_that_turns_plain_steps_back() -> None:
    target, x = Ripple(), torch.full((1, 1), 0.5)
    goal, budget = AwayFrom(torch.tensor([0])), Budget("linf", 0.45)
    run = Run()
    plain = attack(BIM(steps=18, step_size=1.0), target, x, goal, budget, run)
    heavy = attack(MIFGSM(steps=18), target, x, goal, budget, run)
    assert not plain.success.item()
    assert heavy.success.item()


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    target, x = problem(classes=4)
    goal, budget = AwayFrom(target.answer(x)), Budget("l2", 0.01)
    all_of_them = attack(MIFGSM(), target, x, goal, budget, Run())
    alone = attack(MIFGSM(), target, x[:1], goal.take(torch.tensor([0])), budget, Run())
    assert torch.allclose(all_of_them.x[:1], alone.x, atol=1e-6)


def test_columns_of_any_range_are_the_same_problem_in_their_own_units() -> None:
    target, x = problem(classes=4)
    scale = torch.logspace(-2, 3, 24)
    wide = LinearTarget(
        target.weight / scale.unsqueeze(1), target.bias, Box(torch.zeros(24), scale, scale)
    )
    goal, rng = AwayFrom(target.answer(x)), torch.Generator()
    plain = MIFGSM().run(target, x, goal, Budget("l2", 0.3), rng)
    scaled = MIFGSM().run(wide, x * scale, goal, Budget("l2", 0.3), rng)
    for one, other in zip(plain, scaled, strict=True):
        assert torch.allclose(one.x, other.x / scale, atol=1e-4)
