"""What attacks on scores share: losses, valid queries, and goals that are not about one class."""

import pytest
import torch

from holdfast.core.goal import AwayFrom, Pixels, ToClass
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.bandits import Bandits
from holdfast.evasion.attacks.bayes_opt import BayesOpt
from holdfast.evasion.attacks.discrete import Discrete
from holdfast.evasion.attacks.nes import NES
from holdfast.evasion.attacks.pixel import Pixel
from holdfast.evasion.attacks.random_walk import RandomWalk
from holdfast.evasion.attacks.rgf import RGF
from holdfast.evasion.attacks.simba import SimBA
from holdfast.evasion.attacks.square import Square
from holdfast.evasion.attacks.threshold import Threshold
from holdfast.evasion.scored import Problem, margin, odds
from holdfast.targets.torch import TorchClassifier
from tests.oracles import two_class
from tests.toys import LinearTarget

SCORES = torch.tensor([[2.0, 0.5, -1.0], [0.0, 3.0, 2.0]])
LABELS = torch.tensor([0, 1])


def test_odds_are_those_of_losing_the_label_and_rise_with_its_cross_entropy() -> None:
    goal = AwayFrom(LABELS)
    p = SCORES.softmax(1).gather(1, LABELS.view(-1, 1)).squeeze(1)
    assert torch.allclose(odds(goal, SCORES), ((1 - p) / p).log(), atol=1e-5)
    assert torch.equal(odds(ToClass(LABELS), SCORES), ToClass(LABELS).loss(SCORES))
    sure = 200 * SCORES
    assert (goal.loss(sure) == 0).all(), "cross-entropy is rounded away"
    assert (odds(goal, sure) < -50).all()


def test_the_margin_is_the_lead_of_the_best_other_class() -> None:
    assert torch.allclose(margin(AwayFrom(LABELS), SCORES), torch.tensor([-1.5, -1.0]))
    assert torch.equal(margin(ToClass(LABELS), SCORES), ToClass(LABELS).loss(SCORES))


def test_losses_ask_only_for_valid_inputs_and_only_once_each() -> None:
    plain, x = two_class((6,), n=3)
    asked = []

    class Watch(LinearTarget):
        def scores(self, x: torch.Tensor) -> torch.Tensor:
            asked.append(x)
            return super().scores(x)

    editable = torch.tensor([True, True, False, True, True, True])
    target = Watch(plain.weight, plain.bias, Box(editable=editable))
    problem = Problem(target, x, AwayFrom(plain.answer(x)), Budget("linf", 0.1))
    points = x.unsqueeze(1) + torch.linspace(-2, 2, 5).view(1, 5, 1)
    values = problem.losses(odds)(points)
    assert values.shape == (3, 5)
    assert [len(a) for a in asked] == [15]
    assert target.space.contains(asked[0]).all()
    assert torch.equal(asked[0].view(3, 5, 6)[:, :, 2], x[:, 2:3].expand(-1, 5))
    alone = odds(problem.goal.take(torch.tensor([1])), plain.scores(asked[0][7:8]))
    assert torch.equal(values[1, 2:3], alone)


def test_a_contest_names_the_member_that_reaches_the_goal_best() -> None:
    target = LinearTarget.two_class(1)
    x = torch.tensor([[0.4], [0.1]])
    problem = Problem(target, x, AwayFrom(target.answer(x)), Budget("linf", 1.0))
    members = torch.tensor([[[0.2], [0.9], [0.6]], [[0.3], [0.05], [0.45]]])
    fitness, best, degree = problem.contest(members, lambda genes: genes, margin)
    assert torch.allclose(fitness, 2 * members.squeeze(2) - 1)
    assert torch.equal(best, torch.tensor([[0.9], [0.45]]))
    assert degree.tolist() == [1, 0]


@pytest.mark.parametrize(
    "method",
    [Square(steps=150), SimBA(steps=60), NES(steps=12), NES("spsa", steps=12, samples=50),
     NES("n_attack", steps=12, samples=100, step_size=0.1), Bandits(steps=120), RGF(steps=20),
     Threshold(steps=20, population=60, crossover=0.5), RandomWalk(steps=150), Discrete(steps=2),
     BayesOpt(steps=40)],
    ids=lambda m: f"{type(m).__name__}-{getattr(m, 'estimator', '')}",
)  # fmt: skip
def test_goals_of_many_labels_per_input_are_pursued_by_their_own_loss(method) -> None:
    """A segmenter that calls pixels bright above one half: dark ones are to be misread."""
    module = torch.nn.Conv2d(1, 2, 1)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([-5.0, 5.0]).view(2, 1, 1, 1))
        module.bias.copy_(torch.tensor([2.5, -2.5]))
    target = TorchClassifier(module)
    rng = torch.Generator().manual_seed(0)
    x = 0.35 + 0.1 * torch.rand(2, 1, 4, 4, generator=rng)
    goal = Pixels(torch.zeros(2, 4, 4, dtype=torch.long), threshold=0.8)
    got = attack(method, target, x, goal, Budget("linf", 0.18), Run())
    assert (goal.degree(target.answer(x)) == 0).all()
    assert (got.degree >= 0.5).all(), got.degree


def test_few_pixels_of_a_segmenter_can_be_misread() -> None:
    module = torch.nn.Conv2d(1, 2, 1)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([-5.0, 5.0]).view(2, 1, 1, 1))
        module.bias.copy_(torch.tensor([2.5, -2.5]))
    target, x = TorchClassifier(module), torch.full((2, 1, 4, 4), 0.4)
    goal = Pixels(torch.zeros(2, 4, 4, dtype=torch.long), threshold=3 / 16)
    got = attack(Pixel(steps=30, population=60), target, x, goal, Budget("l0", 3.0), Run())
    assert got.success.all()
    assert got.distance.tolist() == [3, 3]
