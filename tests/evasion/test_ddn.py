"""DDN against linear models, whose smallest adversarial change is known exactly."""

import pytest
import torch

from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.ddn import DDN
from tests.oracles import check_masked, check_minimum, check_targeted, two_class
from tests.toys import LinearTarget


def test_ddn_finds_the_smallest_change_with_its_defaults() -> None:
    check_minimum(DDN(), "l2", *two_class(n=4))


def test_a_tenth_of_the_steps_already_does_on_images() -> None:
    check_minimum(DDN(steps=100), "l2", *two_class((2, 3, 4)))


def test_ddn_reaches_a_wanted_class_and_spares_frozen_features() -> None:
    check_targeted(DDN(steps=100), "l2", slack=0.01)
    check_masked(DDN(steps=100), "l2", slack=0.01)


def test_the_norm_follows_hits_and_misses_by_factors_of_gamma() -> None:
    """The boundary is at 0.12: from 0.1 up while it is missed, down after each hit."""
    target = LinearTarget(torch.tensor([[1.0, -1.0]]), torch.tensor([-0.5, 0.5]))
    x = torch.tensor([[0.62]])
    search = DDN(init_norm=0.1, gamma=0.1, last_gamma=0.1).run(
        target, x, AwayFrom(target.answer(x)), Budget("l2", torch.inf),
        torch.Generator().manual_seed(0),
    )  # fmt: skip
    moved = [float((next(search).x - x).abs()) for _ in range(5)]
    assert moved == pytest.approx([0, 0.11, 0.121, 0.121 * 0.9, 0.121 * 0.9 * 1.1], abs=1e-6)


def test_gamma_falls_by_a_half_cosine() -> None:
    """Never hit, so that the norm grows by one plus gamma each time: 0.2, then the middle, 0.11."""
    target = LinearTarget(torch.tensor([[1e-6, -1e-6]]), torch.tensor([0.5, -0.5]))
    x = torch.tensor([[0.5]])
    search = DDN(steps=4, init_norm=0.1, gamma=0.2, last_gamma=0.02, final_steps=0).run(
        target, x, AwayFrom(target.answer(x)), Budget("l2", torch.inf),
        torch.Generator().manual_seed(0),
    )  # fmt: skip
    sizes = [float((one.x - x).abs()) for one in search]
    half = 0.5**0.5
    grown = [1.2, 1 + 0.11 + 0.09 * half, 1.11]
    assert sizes == pytest.approx([0, 0.12, 0.12 * grown[1], 0.12 * grown[1] * grown[2]], rel=1e-4)


def test_the_last_probes_remove_what_the_norm_overshot() -> None:
    target, x = two_class(n=8)
    far = target.distance(x, "l2")
    goal, budget = AwayFrom(target.answer(x)), Budget("l2", torch.inf)
    got = [
        attack(DDN(30, last_gamma=0.1, final_steps=k), target, x, goal, budget, Run())
        for k in (0, 4)
    ]
    over = [float((each.distance / far).max()) for each in got]
    assert over[0] > 1.005
    assert over[1] < 1.005


def test_a_flat_model_is_searched_at_random_and_stands() -> None:
    flat = LinearTarget(torch.zeros(5, 3), torch.tensor([1.0, 0.0, 0.0]))
    x = torch.full((2, 5), 0.5)
    search = DDN().run(
        flat, x, AwayFrom(flat.answer(x)), Budget("l2", torch.inf), torch.Generator().manual_seed(0)
    )
    assert torch.equal(next(search).x, x)
    moved = (next(search).x - x).flatten(1)
    assert (moved.norm(dim=1) > 0.5).all()
    assert not torch.equal(moved[0], moved[1])
