"""EOT: its gradient against enumerated draws, and random defences that stop plain PGD."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.eot import EOT
from holdfast.evasion.attacks.pgd import PGD
from holdfast.evasion.redraw import Expected
from holdfast.targets.torch import TorchClassifier
from holdfast.targets.wrappers import Defended
from tests.oracles import check_fixed, check_masked, check_targeted, problem, two_class
from tests.toys import LinearTarget


@dataclass(frozen=True)
class Coin:
    """Rows are shown as they are or doubled, by the toss of a coin."""

    def apply(self, x, rng):
        heads = torch.rand(len(x), 1, generator=rng) < 0.5
        return torch.where(heads, x, 2 * x)


@dataclass(frozen=True)
class Shift:
    """A row's features, turned round by a random number of places."""

    def apply(self, x, rng):
        by = torch.randint(x.shape[1], (len(x), 1), generator=rng)
        return x.gather(1, (torch.arange(x.shape[1]) + by) % x.shape[1])


class BatchCoin(nn.Module):
    """Doubles a whole batch or leaves it, drawn from the global stream as layers do."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x * (1 + (torch.rand(()) < 0.5)))


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_without_randomness_rows_fall_exactly_when_the_boundary_is_in_the_ball(norm) -> None:
    target, x = two_class()
    method = EOT(steps=60, samples=2, random_start=norm != "l1")
    check_fixed(method, norm, target, x)
    check_targeted(method, norm)
    check_masked(method, norm)


def test_the_gradient_is_the_mean_over_the_two_states_of_the_defence() -> None:
    inner, x = problem()
    goal = AwayFrom(inner.answer(x))
    loss = lambda raw: raw.square().sum(1) * (1 + goal.labels)  # noqa: E731
    source = Defended(inner, Coin()).fresh(torch.Generator().manual_seed(0))
    got = Expected(source, 2000).gradient(x, loss)
    states = [inner.gradient(s * x, loss).wrt_input for s in (1, 2)]
    expected = sum(states) / 2
    # tosses leave the share of heads within 4 standard errors of one half
    slack = 4 * 0.5 / 2000**0.5 * (states[0] - states[1]).abs()
    assert ((got.wrt_input - expected).abs() <= slack + 1e-4).all()
    assert got.raw.shape == (len(x), 2000, 3)
    # every draw is one of the two states, and both occur for every row
    heads = (got.raw - inner.scores(x).unsqueeze(1)).abs().amax(2) < 1e-3
    assert ((heads.float().mean(1) - 0.5).abs() < 0.06).all()


def test_a_target_that_draws_once_per_batch_is_asked_once_per_draw() -> None:
    linear = nn.Linear(6, 3)
    nn.init.normal_(linear.weight, generator=torch.Generator().manual_seed(0))
    x = torch.rand(5, 6, generator=torch.Generator().manual_seed(1))
    target = TorchClassifier(BatchCoin(linear))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        got = Expected(target, 400, together=False).gradient(x, lambda raw: raw.square().sum(1))
    expected = sum((s * (s * x @ linear.weight.T + linear.bias)) @ linear.weight for s in (1, 2))
    assert torch.allclose(got.wrt_input, expected, rtol=0.2, atol=0.5)
    assert got.raw[0].std(0).min() > 0.1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        run = attack(
            EOT(steps=2, samples=8),
            target,
            x,
            AwayFrom(target.answer(x)),
            Budget("linf", 1e-4),
            Run(),
        )
    # the probe's eight rows, then eight passes a step forward and back, and the last answers
    assert (run.forwards, run.backwards) == (8 + 3 * 8 * 5, 2 * 8 * 5)


def shifted(n: int = 60) -> tuple[Defended, torch.Tensor, AwayFrom]:
    """Few features matter, and which ones an attacker cannot know: every step sees others."""
    rng = torch.Generator().manual_seed(3)
    weight = torch.zeros(24, 1)
    weight[:3] = 1.0
    weight += 0.12
    inner = LinearTarget(30 * torch.cat([-weight, weight], 1), torch.tensor([0.0, 0.0]))
    x = 0.5 + 0.1 * (torch.rand(n, 24, generator=rng) - 0.5)
    inner = LinearTarget(inner.weight, torch.tensor([0.0, -30 * float(x.sum(1).mean() * 0.49)]))
    target = Defended(inner, Shift())
    return target, x, AwayFrom(target.answer(x))


def test_it_works_under_nearly_every_draw_where_one_that_ignores_them_works_by_luck() -> None:
    target, x, goal = shifted()
    budget = Budget("linf", 0.05)
    plain = attack(PGD(steps=20), target, x, goal, budget, Run())
    eot = attack(EOT(steps=20, samples=24), target, x, goal, budget, Run())
    rng = torch.Generator().manual_seed(9)

    def over_draws(adv):
        fresh = target.fresh(rng)
        return torch.stack([fresh.answer(adv) != goal.labels for _ in range(50)]).float().mean()

    mine, plains = over_draws(eot.x), over_draws(plain.x)
    assert mine > plains + 0.2, (mine, plains)


def test_degrees_are_shares_of_draws_and_a_run_repeats_itself() -> None:
    target, x, goal = shifted(8)
    method, budget = EOT(steps=3, samples=6), Budget("linf", 0.03)
    from holdfast.engine.ledger import Ledger, view

    search = method.run(
        view(method, target, Ledger()), x, goal, budget, torch.Generator().manual_seed(0)
    )
    for candidate in search:
        assert ((candidate.degree * 6).round() / 6 - candidate.degree).abs().max() < 1e-6
    first, again = (attack(method, target, x, goal, budget, Run()) for _ in range(2))
    assert torch.equal(first.x, again.x)
