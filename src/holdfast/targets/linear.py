"""A linear classifier given by its weights: copies of logistic and softmax regressions."""

from dataclasses import dataclass, field

from torch import Tensor

from holdfast.core.space import Box, Space


@dataclass(frozen=True, eq=False)
class LinearClassifier:
    """Scores x @ weight + bias: (N, D) or (N, ...) with D values in all -> (N, K).

    Scores have the precision of `weight`, whatever that of the inputs.
    """

    weight: Tensor
    bias: Tensor
    space: Space = field(default_factory=Box)

    def scores(self, x: Tensor) -> Tensor:
        """(N, K) log-odds."""
        return x.flatten(1).to(self.weight.dtype) @ self.weight + self.bias

    def decode(self, raw: Tensor) -> Tensor:
        """Index of the largest score."""
        return raw.argmax(1)

    def answer(self, x: Tensor) -> Tensor:
        """Predicted class (N,)."""
        return self.decode(self.scores(x))
