"""Text classifiers as targets: gradients over replacement words."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from holdfast.core.errors import TargetError
from holdfast.core.space import Words
from holdfast.core.target import Gradient
from holdfast.ops.embedding import replacement_gain
from holdfast.ops.losses import two_logits
from holdfast.ops.rows import Ragged
from holdfast.targets.torch import _still


@dataclass(frozen=True, eq=False)
class WordClassifier:
    """A module that turns word ids (N, L), 0 being padding, into (N, K) logits.

    Its embedding is the only `nn.Embedding` with as many rows as the space has words; it must be
    called once per forward pass. What the module makes of a row must not depend on how far it is
    padded.
    """

    module: nn.Module
    space: Words

    def scores(self, x: Ragged) -> Tensor:
        """(N, K) logits, without a graph."""
        with _still(self.module), torch.no_grad():
            return self._forward(x)

    def decode(self, raw: Tensor) -> Tensor:
        """Index of the largest score."""
        return raw.argmax(1)

    def answer(self, x: Ragged) -> Tensor:
        """Predicted class (N,)."""
        return self.decode(self.scores(x))

    def word_gradient(
        self, x: Ragged, loss: Callable[[Tensor], Tensor], candidates: Tensor
    ) -> Gradient:
        """First-order change of the loss by each replacement: (N, L, C) ids -> (N, L, C)."""
        table = self._embedding()
        with _still(self.module), torch.enable_grad(), _leaf(table) as seen:
            raw = self._forward(x)
            if len(seen) != 1 or seen[0].shape[:2] != x.data.shape:
                raise TargetError(
                    "a text classifier must embed its (N, L) words once per forward pass",
                    got=f"{len(seen)} calls",
                    fix="call the embedding once, on the ids as they were given",
                )
            (grad,) = torch.autograd.grad(loss(raw).sum(), seen[0])
        weight = table.weight.detach()
        return Gradient(replacement_gain(grad, weight, x.data, candidates), raw.detach())

    def _embedding(self) -> nn.Embedding:
        words = len(self.space.candidates)
        found = [
            m
            for m in self.module.modules()
            if isinstance(m, nn.Embedding) and m.num_embeddings == words
        ]
        if len(found) != 1:
            raise TargetError(
                f"a text classifier must have one nn.Embedding of {words} words",
                got=len(found),
                fix="give the module and its space the same vocabulary",
            )
        return found[0]

    def _forward(self, x: Ragged) -> Tensor:
        raw = two_logits(self.module(x.data * x.mask))
        if raw.ndim != 2 or len(raw) != len(x):
            raise TargetError(
                "a text classifier must give (N, K) scores",
                got=tuple(raw.shape),
                fix="return one row of logits per text",
            )
        return raw


@contextmanager
def _leaf(table: nn.Embedding) -> Iterator[list[Tensor]]:
    """Makes what the embedding gives a leaf of the graph and collects it."""
    seen: list[Tensor] = []

    def cut(_module: nn.Module, _ids: tuple[Tensor, ...], out: Tensor) -> Tensor:
        seen.append(out.detach().requires_grad_())
        return seen[-1]

    handle = table.register_forward_hook(cut)
    try:
        yield seen
    finally:
        handle.remove()
