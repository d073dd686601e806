"""Small targets whose optimal attack is known in closed form."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from holdfast.core.space import Box
from holdfast.core.target import Gradient
from holdfast.ops.balls import Norm
from holdfast.targets.torch import backward


@dataclass(frozen=True)
class LinearTarget:
    """Scores x @ weight + bias: (N, D) -> (N, K)."""

    weight: Tensor
    bias: Tensor
    space: Box = field(default_factory=Box)

    @classmethod
    def two_class(cls, features: int) -> "LinearTarget":
        """Class 1 exactly where the mean of the features is above one half."""
        w = torch.ones(features, 1) / features
        return cls(torch.cat([-w, w], 1), torch.tensor([0.5, -0.5]))

    @classmethod
    def random(cls, features: int, classes: int, seed: int = 0) -> "LinearTarget":
        rng = torch.Generator().manual_seed(seed)
        return cls(torch.randn(features, classes, generator=rng), torch.zeros(classes))

    def scores(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight + self.bias

    def decode(self, raw: Tensor) -> Tensor:
        return raw.argmax(1)

    def answer(self, x: Tensor) -> Tensor:
        return self.decode(self.scores(x))

    def gradient(self, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Gradient:
        x = x.detach().requires_grad_()
        raw = self.scores(x)
        return Gradient(backward(loss(raw), x), raw.detach())

    def distance(self, x: Tensor, norm: Norm) -> Tensor:
        """Distance of each row to the nearest decision boundary, without the box; exact for l0."""
        if norm == "l0":
            return self.fewest(x)
        raw = self.scores(x)
        own = raw.argmax(1)
        gap = raw.gather(1, own[:, None]) - raw
        difference = self.weight[:, own].T[:, :, None] - self.weight[None]
        dual = {"linf": 1, "l2": 2, "l1": torch.inf}[norm]
        size = torch.linalg.vector_norm(difference, dual, dim=1)
        return (
            (gap / size)
            .masked_fill(torch.nn.functional.one_hot(own, raw.shape[1]).bool(), torch.inf)
            .amin(1)
        )

    def fewest(self, x: Tensor) -> Tensor:
        """Least number of features to change within the box so that another class wins.

        For one rival class the best change of each feature is independent of the others: the
        largest gains are taken first until they make up for the gap.
        """
        raw, flat = self.scores(x), x.flatten(1)
        own = raw.argmax(1)
        low, high = float(self.space.low), float(self.space.high)
        best = torch.full((len(x),), torch.inf)
        for rival in range(raw.shape[1]):
            slope = self.weight[:, [rival]].T - self.weight[:, own].T
            gain = torch.maximum(slope * (high - flat), slope * (low - flat))
            total = gain.sort(dim=1, descending=True).values.cumsum(1)
            gap = raw.gather(1, own[:, None]) - raw[:, [rival]]
            count = (total <= gap).sum(1) + 1.0
            possible = (total[:, -1:] > gap).squeeze(1) & (own != rival)
            best = torch.where(possible, torch.minimum(best, count), best)
        return best
