"""A federated client that shares the gradient of its private batch with a server."""

import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import log_softmax, one_hot

from holdfast.core.space import Box
from holdfast.ops.losses import two_logits


@dataclass(frozen=True, eq=False)
class FederatedClient:
    """One step of federated SGD: the client sends the gradient of its mean loss over (x, y).

    What an observer may use is `shared` and `simulate`; the batch itself is for the judge. The
    model is copied in double precision, as the search for the batch descends far below the
    rounding of single precision.

    Attributes:
        module: the model that the server sent, as it was when the gradient was taken.
        x: private inputs (N, ...).
        y: private labels (N,).
        space: what a valid input is.
    """

    module: nn.Module
    x: Tensor
    y: Tensor
    space: Box = field(default_factory=Box)

    def __post_init__(self) -> None:
        object.__setattr__(self, "module", copy.deepcopy(self.module).double().eval())

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one private input."""
        return tuple(self.x.shape[1:])

    @property
    def classes(self) -> int:
        """Number of classes."""
        with torch.no_grad():
            return two_logits(self.module(self.x[:1].double())).shape[1]

    def shared(self) -> tuple[Tensor, ...]:
        """The update that was sent, one tensor per parameter in the module's order."""
        labels = one_hot(self.y, self.classes).double()
        return tuple(g.detach() for g in self.simulate(self.x.double(), labels))

    def simulate(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        """The same computation on guesses x (N, ...), y (N, K) probabilities, differentiable."""
        with torch.enable_grad():
            params = {k: p.detach().requires_grad_() for k, p in self.module.named_parameters()}
            scores = two_logits(functional_call(self.module, params, (x,)))
            loss = -(y * log_softmax(scores, 1)).sum(1).mean()
            return torch.autograd.grad(loss, list(params.values()), create_graph=True)
