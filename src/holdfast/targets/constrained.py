"""A model behind a form that takes valid rows only: what an attack asks is made valid first."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from holdfast.core.constraints import Table
from holdfast.core.target import Answers, Gradient, Gradients, Scores


@dataclass(frozen=True, eq=False)
class ConstrainedAnswers:
    """Decisions about the nearest valid rows.

    Attributes:
        target: the model.
        space: what a valid row is.
    """

    target: Any  # the least access; the subclasses ask for more
    space: Table

    def answer(self, x: Tensor) -> Tensor:
        """Class indices (N,) of the nearest valid rows."""
        told: Tensor = self.target.answer(self.space.snap(x))
        return told


@dataclass(frozen=True, eq=False)
class ConstrainedScores(ConstrainedAnswers):
    """Scores of the nearest valid rows."""

    def scores(self, x: Tensor) -> Tensor:
        """(N, K) scores of the nearest valid rows."""
        told: Tensor = self.target.scores(self.space.snap(x))
        return told

    def decode(self, raw: Tensor) -> Tensor:
        """As the model decodes."""
        told: Tensor = self.target.decode(raw)
        return told


@dataclass(frozen=True, eq=False)
class ConstrainedGradients(ConstrainedScores):
    """Scores and gradients of the nearest valid rows.

    Gradients pass straight through the rounding, which has none of its own (Bengio et al. 2013).
    """

    def gradient(self, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Gradient:
        """The model's gradient at the nearest valid rows."""
        told: Gradient = self.target.gradient(self.space.snap(x), loss)
        return told


def constrained(target: Answers, space: Table) -> ConstrainedAnswers:
    """The model behind valid rows, with as much of its access as can be kept.

    Any attack on it searches among relaxed rows while the model sees valid ones, and the engine
    judges valid ones.
    """
    if isinstance(target, Gradients):
        return ConstrainedGradients(target, space)
    return (ConstrainedScores if isinstance(target, Scores) else ConstrainedAnswers)(target, space)
