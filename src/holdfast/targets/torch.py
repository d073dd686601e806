"""PyTorch classifiers as targets: all autograd of input gradients lives here."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from holdfast.core.errors import NeedsError, TargetError
from holdfast.core.space import Box
from holdfast.core.target import Gradient
from holdfast.ops.losses import two_logits


@dataclass(frozen=True, eq=False)
class TorchClassifier:
    """A module that gives (N, K) logits, one binary logit (N,) or (N, 1), or dense (N, K, H, W).

    Offers answers, scores, gradients, features and weights. The module is left as it was found:
    mode, `requires_grad`, `grad` and hooks.
    """

    module: nn.Module
    space: Box = field(default_factory=Box)

    def scores(self, x: Tensor) -> Tensor:
        """(N, K) logits, without a graph."""
        with _still(self.module), torch.no_grad():
            return self._forward(x)

    def decode(self, raw: Tensor) -> Tensor:
        """Index of the largest score over axis 1."""
        return raw.argmax(1)

    def answer(self, x: Tensor) -> Tensor:
        """Predicted class (N,), or (N, H, W) for dense outputs."""
        return self.decode(self.scores(x))

    def gradient(self, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Gradient:
        """Gradient of sum(loss) in x by one backward pass, without gradients of parameters.

        A loss of (N, C) gives (N, C, ...) gradients by C backward passes through one graph.
        """
        with _still(self.module), torch.enable_grad():
            x = x.detach().requires_grad_()
            raw = self._forward(x)
            return Gradient(backward(loss(raw), x), raw.detach())

    def features(self, x: Tensor) -> Tensor:
        """(N, D): the input of the last linear layer that the forward pass calls."""
        with _still(self.module), torch.no_grad(), _penultimate(self.module) as seen:
            self._forward(x)
            return _last(seen)

    def feature_gradient(self, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Gradient:
        """Gradient of sum(loss(features)) in x, and the features."""
        with _still(self.module), torch.enable_grad(), _penultimate(self.module) as seen:
            x = x.detach().requires_grad_()
            self._forward(x)
            features = _last(seen)
            return Gradient(backward(loss(features), x), features.detach())

    def _forward(self, x: Tensor) -> Tensor:
        raw = two_logits(self.module(x))
        if raw.ndim < 2 or len(raw) != len(x):
            raise TargetError(
                "a classifier must give (N, K) scores",
                got=tuple(raw.shape),
                fix="return one row of logits per input",
            )
        return raw


def backward(loss: Tensor, x: Tensor) -> Tensor:
    """Gradient of each row's loss in x: (N,) gives (N, ...); (N, C) gives (N, C, ...).

    Raises:
        NeedsError: the loss does not depend on x by anything that can be differentiated.
    """
    if not loss.requires_grad:
        raise NeedsError(
            "needs gradients, which the model cuts off (detached, or computed outside of PyTorch)"
        )
    if loss.ndim <= 1:
        return torch.autograd.grad(loss.sum(), x)[0]
    last = loss.shape[1] - 1
    each = [
        torch.autograd.grad(loss[:, c].sum(), x, retain_graph=c < last)[0] for c in range(last + 1)
    ]
    return torch.stack(each, 1)


@contextmanager
def _still(module: nn.Module) -> Iterator[None]:
    """Evaluation mode and frozen parameters, both restored whatever happens.

    This runs at every pass, so only what has to be changed is touched.
    """
    parts = list(module.modules())
    loud = [part for part in parts if part.training]
    learning = [
        p for part in parts for p in part._parameters.values() if p is not None and p.requires_grad
    ]
    try:
        if loud:
            module.eval()
        for p in learning:
            p.requires_grad_(False)
        yield
    finally:
        for part in loud:
            part.training = True
        for p in learning:
            p.requires_grad_(True)


@contextmanager
def _penultimate(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collects the inputs of linear layers in the order in which the forward pass calls them."""
    seen: list[Tensor] = []
    linear = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    handles = [layer.register_forward_pre_hook(lambda _, x: seen.append(x[0])) for layer in linear]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _last(seen: list[Tensor]) -> Tensor:
    """(N, D): what the last linear layer was fed.

    Raises:
        NeedsError: the forward pass called none.
    """
    if not seen:
        raise NeedsError(
            "needs features, the input of the last nn.Linear, and the model calls no such layer"
        )
    return seen[-1].flatten(1)
