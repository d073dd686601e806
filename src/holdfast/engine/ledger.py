"""Views of a target: only the access that a method declared, with every row counted."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.core.errors import NeedsError, QueriesSpent
from holdfast.core.method import Method, needs
from holdfast.core.target import (
    Answers,
    Features,
    Gradient,
    Gradients,
    Nothing,
    Redrawn,
    Scores,
    SharedGradients,
    Shielded,
    Trees,
    Uncertain,
    Weights,
    WordGradients,
)


@dataclass
class Ledger:
    """Rows that passed forward and backward through the target, and what is left of an allowance.

    Attributes:
        limit: allowed passes per row, None for no limit.
        active: rows under attack now; the engine lowers it as rows leave.
    """

    limit: int | None = None
    active: int = 1
    forwards: int = 0
    backwards: int = 0
    spent: float = 0.0

    def charge(self, forwards: int, backwards: int = 0) -> None:
        """Count passes; refuse those that go beyond the allowance of the rows under attack."""
        cost = (forwards + backwards) / max(1, self.active)
        if self.limit is not None and self.spent + cost > self.limit + 1e-9:
            raise QueriesSpent(f"{self.spent:g} of {self.limit} passes per row are used")
        self.spent += cost
        self.forwards += forwards
        self.backwards += backwards


class _AnswersView:
    """Decisions only."""

    def __init__(self, target: Any, ledger: Ledger) -> None:
        self._target, self._ledger = target, ledger

    @property
    def space(self) -> Any:
        """Where an attack may search; among whole numbers and categories no small step is kept."""
        return getattr(self._target.space, "relaxed", self._target.space)

    def answer(self, x: Any) -> Any:
        self._ledger.charge(len(x))
        return self._target.answer(x)


class _ScoresView(_AnswersView):
    def scores(self, x: Any) -> Any:
        self._ledger.charge(len(x))
        return self._target.scores(x)

    def decode(self, raw: Any) -> Any:
        return self._target.decode(raw)


class _GradientsView(_ScoresView):
    def gradient(self, x: Any, loss: Callable[[Any], Tensor]) -> Gradient[Any]:
        """Gradient where the attacker may change something, zero elsewhere."""
        result: Gradient[Any] = self._target.gradient(x, self._charged(x, loss))
        editable = getattr(self.space, "editable", None)
        if editable is None:
            return result
        return Gradient(result.wrt_input * editable.to(result.wrt_input.device), result.raw)

    def fresh(self, rng: Any) -> Any:
        """The same view of the target with new draws of its defence in every pass, if it has any."""
        if not isinstance(self._target, Redrawn):
            return self
        return type(self)(self._target.fresh(rng), self._ledger)

    def _charged(self, x: Any, loss: Callable[[Any], Tensor]) -> Callable[[Any], Tensor]:
        """`loss`, charging the backward passes once it shows how many numbers it gives per row."""
        self._ledger.charge(len(x), len(x))
        paid = False

        def told(raw: Any) -> Tensor:
            nonlocal paid
            value = loss(raw)
            if value.ndim == 2 and not paid:
                self._ledger.charge(0, len(x) * (value.shape[1] - 1))
            paid = True
            return value

        return told


class _WordGradientsView(_ScoresView):
    def word_gradient(
        self, x: Any, loss: Callable[[Any], Tensor], candidates: Tensor
    ) -> Gradient[Any]:
        self._ledger.charge(len(x), len(x))
        result: Gradient[Any] = self._target.word_gradient(x, loss, candidates)
        return result


class _FeaturesView(_GradientsView):
    def features(self, x: Tensor) -> Tensor:
        self._ledger.charge(len(x))
        # filters ask for whole training sets at once, which would not fit in memory as one batch
        return torch.cat([self._target.features(part) for part in x.split(1024)])

    def feature_gradient(self, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Gradient[Tensor]:
        result: Gradient[Tensor] = self._target.feature_gradient(x, self._charged(x, loss))
        return result


class _ShieldedView(_GradientsView):
    def shield(self, x: Any) -> Any:
        """The change alone, which costs no pass of the model."""
        return self._target.shield(x)

    def behind(self, x: Any, loss: Callable[[Any], Tensor]) -> Gradient[Any]:
        result: Gradient[Any] = self._target.behind(x, self._charged(x, loss))
        return result


class _TreesView(_ScoresView):
    @property
    def ensemble(self) -> Any:
        """The trees themselves; sums made of them directly are not counted."""
        return self._target.ensemble


class _UncertainView(_GradientsView):
    def uncertainty(self, x: Tensor) -> Any:
        self._ledger.charge(len(x))
        return self._target.uncertainty(x)

    def uncertainty_gradient(self, x: Tensor) -> Gradient[Any]:
        """Gradient where the attacker may change something, zero elsewhere."""
        self._ledger.charge(len(x), len(x))
        found: Gradient[Any] = self._target.uncertainty_gradient(x)
        editable = getattr(self.space, "editable", None)
        if editable is None:
            return found
        return Gradient(found.wrt_input * editable.to(found.wrt_input.device), found.raw)


class _WeightsView(_GradientsView):
    @property
    def module(self) -> nn.Module:
        """The model itself; passes made through it directly are not counted."""
        module: nn.Module = self._target.module
        return module


class _SharedView:
    """A federated client's update; simulating it costs a forward and two backward passes."""

    def __init__(self, target: Any, ledger: Ledger) -> None:
        self._target, self._ledger = target, ledger
        self.space, self.shape, self.classes = target.space, target.shape, target.classes

    def shared(self) -> Any:
        return self._target.shared()

    def simulate(self, x: Tensor, y: Tensor) -> Any:
        self._ledger.charge(len(x), 2 * len(x))
        return self._target.simulate(x, y)


_VIEWS: dict[Any, Callable[[Any, Ledger], Any] | None] = {
    Nothing: None,
    Answers: _AnswersView,
    Scores: _ScoresView,
    Gradients: _GradientsView,
    WordGradients: _WordGradientsView,
    Features: _FeaturesView,
    Shielded: _ShieldedView,
    Trees: _TreesView,
    Uncertain: _UncertainView,
    Weights: _WeightsView,
    SharedGradients: _SharedView,
}


def view(method: Method, target: object, ledger: Ledger) -> Any:
    """Hide from the method everything it did not declare, and count what it uses.

    Returns Any, as the declared access is only known at run time.

    Raises:
        NeedsError: the target does not offer the declared access.
    """
    access = needs(type(method)) or Nothing
    if not isinstance(target, access):
        raise NeedsError(f"needs {_WORDS[access]}, which {type(target).__name__} does not offer")
    kind = _VIEWS[access]
    return kind(target, ledger) if kind else None


_WORDS: dict[Any, str] = {
    Answers: "answers",
    Scores: "scores",
    Gradients: "gradients",
    WordGradients: "gradients over words",
    Features: "features and their gradients",
    Shielded: "a model and the change of inputs in front of it, apart",
    Trees: "trees",
    Uncertain: "gradients of scores and of uncertainty",
    Weights: "the weights",
    SharedGradients: "a client's shared gradient",
}
