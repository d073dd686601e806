"""A model behind valid rows offers what the model offers, asked about the nearest valid rows."""

import torch

from holdfast.core.constraints import Table
from holdfast.core.goal import AwayFrom
from holdfast.core.space import Box
from holdfast.core.target import Answers, Gradients, Scores
from holdfast.targets.constrained import constrained
from tests.toys import LinearTarget

HIGH = torch.tensor([9.0, 1, 1, 1])
SPACE = Table.of(["n", "a=1", "a=2", "free"], Box(torch.zeros(4), HIGH, HIGH), integers=["n"])
X = torch.tensor([[3.4, 0.3, 0.6, 0.25], [11.0, 0.7, 0.6, -0.5]])
NEAREST = torch.tensor([[3.0, 0, 1, 0.25], [9.0, 1, 0, 0]])


class Hidden:
    """The answers of a target and nothing else."""

    def __init__(self, target: LinearTarget, *parts: str) -> None:
        self.space = target.space
        for part in parts:
            setattr(self, part, getattr(target, part))


def test_answers_scores_and_gradients_are_those_of_the_nearest_valid_rows() -> None:
    inner = LinearTarget.random(4, 3)
    target = constrained(inner, SPACE)
    assert isinstance(target, Gradients)
    assert torch.equal(SPACE.snap(X), NEAREST)
    assert torch.equal(target.scores(X), inner.scores(NEAREST))
    assert torch.equal(target.answer(X), inner.answer(NEAREST))
    goal = AwayFrom(torch.tensor([0, 1]))
    got, want = target.gradient(X, goal.loss), inner.gradient(NEAREST, goal.loss)
    assert torch.equal(got.wrt_input, want.wrt_input)  # straight through the rounding
    assert torch.equal(got.raw, want.raw)
    assert target.space is SPACE


def test_it_offers_no_more_than_the_model_does() -> None:
    inner = LinearTarget.random(4, 3)
    told = constrained(Hidden(inner, "answer"), SPACE)
    assert isinstance(told, Answers)
    assert not isinstance(told, Scores)
    scored = constrained(Hidden(inner, "answer", "scores", "decode"), SPACE)
    assert isinstance(scored, Scores)
    assert not isinstance(scored, Gradients)
