"""Scikit-learn's Gaussian process classifier with two classes, as a target with gradients."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from holdfast.core.errors import InputError
from holdfast.core.space import Box
from holdfast.core.target import Gradient
from holdfast.targets.sklearn import FLOOR, class_places
from holdfast.targets.torch import backward

_SLOPES = (0.41, 0.4, 0.37, 0.44, 0.39)
_WEIGHTS = (-1854.8214151, 3516.89893646, 221.29346712, 128.12323805, -2010.49422654)
"""The logistic function as a sum of error functions, whose mean over a normal law is known in
closed form (Williams & Barber 1998, appendix A); scikit-learn's numbers."""


@dataclass(frozen=True, eq=False)
class GaussianProcess:
    """A fitted binary classifier with an RBF kernel, by Laplace's approximation.

    Scores (N, 2) are log-probabilities. The latent function at x has mean k_*^T (t - pi) and
    variance k(x, x) - |L^-1 W^(1/2) k_*|^2 (Rasmussen & Williams 2006, alg. 3.2), computed in
    double precision from the training rows that the estimator keeps.

    Attributes:
        model: the fitted `GaussianProcessClassifier`.
        space: what a valid input is.
        classes: the model's label of each class index; `model.classes_` where it is empty.
    """

    model: Any  # scikit-learn has no types
    space: Box = field(default_factory=Box)
    classes: tuple[object, ...] = ()

    def __post_init__(self) -> None:
        if not fits(self.model, self.classes):
            raise InputError(
                "a Gaussian process with gradients has two classes and an RBF kernel",
                got=self.model,
                fix="use SklearnClassifier",
            )

    def scores(self, x: Tensor) -> Tensor:
        """(N, 2) log-probabilities."""
        with torch.no_grad():
            return self._scores(x)

    def decode(self, raw: Tensor) -> Tensor:
        """Index of the largest score."""
        return raw.argmax(1)

    def answer(self, x: Tensor) -> Tensor:
        """Class indices (N,)."""
        return self.decode(self.scores(x))

    def gradient(self, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Gradient:
        """Gradient of the loss of the scores in x."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            raw = self._scores(x)
            return Gradient(backward(loss(raw), x), raw.detach())

    def uncertainty(self, x: Tensor) -> Tensor:
        """(N,) variance of the latent function."""
        with torch.no_grad():
            return self._latent(x)[1].to(x.dtype)

    def uncertainty_gradient(self, x: Tensor) -> Gradient:
        """Gradient of the variance in x; `raw` is the variance."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            variance = self._latent(x)[1]
            return Gradient(backward(variance, x), variance.detach().to(x.dtype))

    def _scores(self, x: Tensor) -> Tensor:
        mean, variance = self._latent(x)
        slopes, weights = (
            torch.tensor(v, dtype=mean.dtype, device=x.device).view(-1, 1)
            for v in (_SLOPES, _WEIGHTS)
        )
        spread = (1 + 2 * variance * slopes.square()).sqrt()
        share = torch.erf(slopes * mean / spread)
        second = (weights * share).sum(0) / 2 + weights.sum() / 2
        both = torch.stack([1 - second, second], 1).clamp(FLOOR, 1).log()
        order = class_places(self.model, self.classes)
        return both[:, [order.index(i) for i in range(2)]].to(x.dtype)

    def _latent(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (N,) of the latent function."""
        base = self.model.base_estimator_
        height, width = _kernel(base.kernel_) or (1.0, 1.0)
        train, residual, root, lower = (
            torch.as_tensor(v, dtype=torch.double, device=x.device)
            for v in (base.X_train_, base.y_train_ - base.pi_, base.W_sr_, base.L_)
        )
        scale = torch.as_tensor(width, dtype=torch.double, device=x.device)
        gap = x.flatten(1).double().unsqueeze(1) - train
        cross = height * (-(gap / scale).square().sum(2) / 2).exp()  # (N, M)
        v = torch.linalg.solve_triangular(lower, (root * cross).T, upper=False)
        variance = (height - v.square().sum(0)).clamp(min=FLOOR)
        return cross @ residual, variance


def fits(model: Any, classes: tuple[object, ...]) -> bool:
    """Whether the estimator is a fitted binary Gaussian process whose kernel is known here."""
    from sklearn.gaussian_process import GaussianProcessClassifier

    if not isinstance(model, GaussianProcessClassifier) or not hasattr(model, "base_estimator_"):
        return False
    base = model.base_estimator_
    two = len(model.classes_) == 2 and len(classes) in (0, 2)
    return two and hasattr(base, "W_sr_") and _kernel(base.kernel_) is not None


def _kernel(kernel: Any) -> tuple[float, Any] | None:
    """Height and length scale of an RBF kernel, alone or times a constant; None for others."""
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Product

    if type(kernel) is RBF:  # other kernels derive from it
        return 1.0, kernel.length_scale
    if isinstance(kernel, Product):
        parts = sorted((kernel.k1, kernel.k2), key=lambda k: isinstance(k, RBF))
        if type(parts[0]) is ConstantKernel and type(parts[1]) is RBF:
            return float(parts[0].constant_value), parts[1].length_scale
    return None
