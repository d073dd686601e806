"""What an attacker can see of a model: one protocol per level of access.

Type parameters default to tensors, so that a plain classifier reads `Gradients`; a recogniser of
ragged sound is `Gradients[Ragged, Ragged, Ragged]`. For classifiers an answer is (N,) class
indices, and scores are (N, K) such that their softmax is the probabilities.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, runtime_checkable

from torch import Generator, Tensor, nn
from typing_extensions import TypeVar

from holdfast.core.space import Box, Discrete, Normed, Space
from holdfast.ops.trees import TreeEnsemble

X = TypeVar("X", default=Tensor)
Out_co = TypeVar("Out_co", default=Tensor, covariant=True)
Raw = TypeVar("Raw", default=Tensor)


@dataclass(frozen=True)
class Gradient(Generic[Raw]):
    """What one backward pass gives.

    Attributes:
        wrt_input: d loss / d input, of the input's shape (N, ...), or (N, C, ...) for C losses.
        raw: the scores (or features) of the forward pass, detached.
    """

    wrt_input: Tensor
    raw: Raw


@runtime_checkable
class Nothing(Protocol):
    """No access to any model: data-only methods."""


@runtime_checkable
class Answers(Protocol[X, Out_co]):
    """Decision-based access: what a user sees (a class, boxes after suppression, a transcript)."""

    @property
    def space(self) -> Space[X]: ...
    def answer(self, x: X) -> Out_co: ...


@runtime_checkable
class Scores(Answers[X, Out_co], Protocol[X, Out_co, Raw]):
    """Score-based access: what comes before arg-max, suppression or decoding."""

    def scores(self, x: X) -> Raw: ...
    def decode(self, raw: Raw) -> Out_co: ...


@runtime_checkable
class Gradients(Scores[X, Out_co, Raw], Protocol[X, Out_co, Raw]):
    """White-box access to d loss / d input; `loss` maps scores to one number per row.

    Where it gives (N, C) numbers, `wrt_input` is (N, C, ...): C backward passes after one forward.
    """

    @property
    def space(self) -> Normed[X]: ...
    def gradient(self, x: X, loss: Callable[[Raw], Tensor]) -> Gradient[Raw]: ...


@runtime_checkable
class Features(Gradients[X, Out_co, Raw], Protocol[X, Out_co, Raw]):
    """Access to the penultimate layer, (N, D), and to gradients of losses of it."""

    def features(self, x: X) -> Tensor: ...
    def feature_gradient(self, x: X, loss: Callable[[Tensor], Tensor]) -> Gradient[Tensor]: ...


@runtime_checkable
class Shielded(Gradients[X, Out_co, Raw], Protocol[X, Out_co, Raw]):
    """A model behind a change of its inputs, with both in the attacker's hands.

    `shield(x)` is what the model sees of `x`. `behind(z, loss)` is the gradient of the model alone,
    at the inputs `z` that it is shown.
    """

    def shield(self, x: X) -> X: ...
    def behind(self, x: X, loss: Callable[[Raw], Tensor]) -> Gradient[Raw]: ...


@runtime_checkable
class Redrawn(Gradients[X, Out_co, Raw], Protocol[X, Out_co, Raw]):
    """A target that treats an input alike at every call, though its defence is random.

    `fresh(rng)` is the same target with new draws in every pass, as an attacker who holds it can
    make them.
    """

    def fresh(self, rng: Generator) -> Gradients[X, Out_co, Raw]: ...


@runtime_checkable
class Trees(Scores, Protocol):
    """Possession of a sum of trees: every threshold, and what every leaf adds to each class."""

    @property
    def space(self) -> Box: ...
    @property
    def ensemble(self) -> TreeEnsemble: ...


@runtime_checkable
class Uncertain(Gradients, Protocol):
    """Access to how sure the model is beside its scores: the variance of a Gaussian process.

    `uncertainty(x)` is (N,); `uncertainty_gradient(x)` is its gradient, with itself as `raw`.
    """

    def uncertainty(self, x: Tensor) -> Tensor: ...
    def uncertainty_gradient(self, x: Tensor) -> Gradient: ...


@runtime_checkable
class WordGradients(Scores[X, Out_co, Raw], Protocol[X, Out_co, Raw]):
    """d loss / d one-hot of candidate words: the embedding table stays hidden.

    `word_gradient(x, loss, candidates)` takes (N, L, C) word ids (-1: none) and returns (N, L, C)
    the first-order change of the loss when the word at a position is replaced by the candidate,
    0 where there is none.
    """

    @property
    def space(self) -> Discrete[X]: ...
    def word_gradient(
        self, x: X, loss: Callable[[Raw], Tensor], candidates: Tensor
    ) -> Gradient[Raw]: ...


@runtime_checkable
class Weights(Gradients[X, Out_co, Raw], Protocol[X, Out_co, Raw]):
    """Possession of the model itself: repair, trojan scans, bounds."""

    @property
    def module(self) -> nn.Module: ...


@runtime_checkable
class SharedGradients(Protocol):
    """A federated client as its server sees it: the gradient it sent, and the model it sent it for.

    `shared()` is the one observed update. `simulate(x, y)` is the same computation on guessed
    inputs (N, ...) and class probabilities (N, K), differentiable, which the server can always do.
    """

    @property
    def space(self) -> Space: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def classes(self) -> int: ...
    def shared(self) -> tuple[Tensor, ...]: ...
    def simulate(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]: ...
