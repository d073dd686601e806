"""Gaussian processes for many small problems at once, in double precision."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Length scales among which the likelihood chooses; inputs are of the order of one."""
NOISE = 1e-4
"""Variance of the noise, in units of that of the values: it keeps the matrices well conditioned."""


def matern(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
    """(N, A, B) Matern 5/2 covariances of points (N, A, D) and (N, B, D); `scale` (N,)."""
    r = math.sqrt(5) * torch.cdist(a, b) / scale.view(-1, 1, 1)
    return (1 + r + r.square() / 3) * (-r).exp()


@dataclass(frozen=True, eq=False)
class Posterior:
    """What is known of N functions after T values of each.

    Attributes:
        points: (N, T, D) where they were asked.
        scale: (N,) length scales.
        root: (N, T, T) Cholesky factors of the covariances.
        weights: (N, T, 1) covariance^-1 values, of the standardised values.
        mean: (N, 1) of the values.
        spread: (N, 1) their standard deviation.
    """

    points: Tensor
    scale: Tensor
    root: Tensor
    weights: Tensor
    mean: Tensor
    spread: Tensor

    def at(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (N, M) at points (N, M, D)."""
        cross = matern(self.points, points.double(), self.scale)
        mean = (cross.transpose(1, 2) @ self.weights).squeeze(2)
        known = torch.linalg.solve_triangular(self.root, cross, upper=False).square().sum(1)
        deviation = (1 - known).clamp(min=1e-12).sqrt()
        return self.mean + self.spread * mean, self.spread * deviation


def fit(points: Tensor, values: Tensor) -> Posterior:
    """The posterior under the length scale of the largest likelihood, for each row its own."""
    points, values = points.double(), values.double()
    mean, spread = values.mean(1, keepdim=True), values.std(1, correction=0, keepdim=True) + 1e-9
    y = ((values - mean) / spread).unsqueeze(2)
    score, scale, root, weights = _under(SCALES[0], points, y)
    for each in SCALES[1:]:
        other = _under(each, points, y)
        better = other[0] > score
        scale, score = torch.where(better, other[1], scale), torch.maximum(other[0], score)
        better = better.view(-1, 1, 1)
        root, weights = torch.where(better, other[2], root), torch.where(better, other[3], weights)
    return Posterior(points, scale, root, weights, mean, spread)


def _under(each: float, points: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-likelihood (N,) of a length scale, that scale, the factors and the weights."""
    scale = points.new_full((len(points),), each)
    noise = NOISE * torch.eye(points.shape[1], dtype=points.dtype, device=points.device)
    root = torch.linalg.cholesky(matern(points, points, scale) + noise)
    weights = torch.cholesky_solve(y, root)
    score = -(y * weights).sum((1, 2)) / 2 - root.diagonal(dim1=1, dim2=2).log().sum(1)
    return score, scale, root, weights


def expected_improvement(mean: Tensor, deviation: Tensor, best: Tensor) -> Tensor:
    """E max(f - best, 0) of a normal f: (mean - best) Phi(z) + deviation phi(z)."""
    z = (mean - best) / deviation
    density = (-z.square() / 2).exp() / math.sqrt(2 * math.pi)
    gain: Tensor = (mean - best) * torch.special.ndtr(z) + deviation * density
    return gain
