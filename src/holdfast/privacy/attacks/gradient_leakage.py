"""Deep leakage from gradients (Zhu et al. 2019), with the analytic label of iDLG (Zhao et al. 2020)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from holdfast.core.kinds import ReconstructionAttack
from holdfast.core.method import hyper, method
from holdfast.core.target import SharedGradients
from holdfast.ops.leakage import input_from_linear, label_from_bias


@method(cites="zhu2019", where="alg. 1")
@dataclass(frozen=True)
class GradientLeakage(ReconstructionAttack[SharedGradients]):
    r"""Deep leakage from gradients (DLG, iDLG).

    x*, y* = argmin_{x, y} D(x, y),  D = sum_W || dl(F(x; W), softmax(y)) / dW - shared_W ||^2

    by L-BFGS from uniform noise, with restarts; the result is the one with the smallest D, as an
    attacker cannot tell by the truth. D is divided by sum_W || shared_W ||^2, so that well-trained
    models are searched like fresh ones. For a batch of one the label is read off the gradient of
    the last bias, and behind a fully connected first layer the input is a quotient of gradients;
    that guess competes by its D with the others. The labels given to `reconstruct` are not used: a
    server does not know them. Second derivatives of ReLU networks vanish, and on trained ones the
    search mostly fails.
    """

    iterations: int = hyper(200, "ours: enough in double precision; sec. 4 uses 1200", low=1)
    restarts: int = hyper(2, "ours: the search diverges from some starts", low=1)
    known_label: bool = hyper(True, "iDLG, sec. 3; batches of one only")
    tolerance: float = hyper(1e-12, "ours: D below it is a solution", low=0)

    def reconstruct(
        self, target: SharedGradients, labels: Tensor, like: Tensor, rng: Generator
    ) -> Iterator[Tensor]:
        shared = target.shared()
        best, least = torch.full_like(like, torch.nan), torch.inf
        for x, loss in self._guesses(target, shared, like, rng):
            if loss < least or not best.isfinite().all():
                best, least = x, loss
                yield best.to(like.dtype)
            if least <= self.tolerance:
                return

    def _guesses(
        self, target: SharedGradients, shared: tuple[Tensor, ...], like: Tensor, rng: Generator
    ) -> Iterator[tuple[Tensor, float]]:
        """Inputs and their D: the analytic one where there is one, then one per restart."""
        label = self._label(target, shared, len(like))
        if label is not None and _fully_connected(shared, like):
            x = input_from_linear(shared[0], shared[1]).view(like.shape)
            yield x, float(_mismatch(target, shared, x, label).detach())
        for _ in range(self.restarts):
            yield self._search(target, shared, like, label, rng)

    def _label(
        self, target: SharedGradients, shared: tuple[Tensor, ...], count: int
    ) -> Tensor | None:
        """(1, K) probabilities, or None where labels must be searched for like inputs."""
        if not self.known_label or count > 1 or shared[-1].shape != (target.classes,):
            return None
        return one_hot(label_from_bias(shared[-1]), target.classes).to(shared[-1].dtype).view(1, -1)

    def _search(
        self,
        target: SharedGradients,
        shared: tuple[Tensor, ...],
        like: Tensor,
        label: Tensor | None,
        rng: Generator,
    ) -> tuple[Tensor, float]:
        dtype = shared[0].dtype
        x = torch.rand(like.shape, generator=rng, dtype=dtype).requires_grad_()
        logits = torch.randn(len(like), target.classes, generator=rng, dtype=dtype)
        free = [x] if label is not None else [x, logits.requires_grad_()]
        optimiser = torch.optim.LBFGS(
            free, lr=1, max_iter=self.iterations, history_size=100,
            tolerance_grad=0, tolerance_change=0, line_search_fn="strong_wolfe",
        )  # fmt: skip

        def closure() -> Tensor:
            optimiser.zero_grad()
            loss = _mismatch(target, shared, x, logits.softmax(1) if label is None else label)
            grads = torch.autograd.grad(loss, free)
            for each, g in zip(free, grads, strict=True):
                each.grad = g
            return loss.detach()

        optimiser.step(closure)
        return x.detach(), float(closure())


def _fully_connected(shared: tuple[Tensor, ...], like: Tensor) -> bool:
    """Whether the first two gradients are those of a linear layer's weight and bias."""
    if len(shared) < 2 or shared[0].ndim != 2 or shared[1].ndim != 1:
        return False
    return shared[0].shape == (len(shared[1]), like[0].numel())


def _mismatch(target: SharedGradients, shared: tuple[Tensor, ...], x: Tensor, y: Tensor) -> Tensor:
    guessed = target.simulate(x, y)
    total = sum(float(g.square().sum()) for g in shared) or 1.0
    return (
        torch.stack([(a - b).square().sum() for a, b in zip(guessed, shared, strict=True)]).sum()
        / total
    )
