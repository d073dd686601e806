"""Randomised smoothing (Cohen et al. 2019)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import beta, norm
from torch import Generator, Tensor

from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import Certifier
from holdfast.core.method import hyper, method
from holdfast.core.space import Box
from holdfast.core.target import Answers

ROWS = 4096
"""Noisy inputs that are answered at once, to bound memory."""


@method(cites="cohen2019", where="alg. CERTIFY, sec. 3.2.2; theorem 1")
@dataclass(frozen=True)
class RandomizedSmoothing(Certifier[Answers]):
    """Randomised smoothing.

    g(x) = the class that f answers most often at x + noise, noise ~ N(0, sigma^2 I)
    R    = sigma * Phi^-1(p), p = lower Clopper-Pearson bound at 1 - alpha of P(f(x + noise) = c)

    c is the most frequent answer among `selection` draws; p comes from `samples` other draws, as
    the same draws would make c look too frequent. Abstains where p <= 1/2. The radius holds for the
    smoothed model g, not for f itself, each row with probability 1 - alpha. It is in units of the
    space's scale. Noise leaves the box: f is asked about inputs beyond its bounds.
    """

    measure = "l2"
    holds_with = "probability 1 - alpha for each row, and for the smoothed model"

    sigma: float = hyper(0.25, "sec. 4, the smallest of the paper's levels", low=1e-6)
    selection: int = hyper(100, "n0, sec. 4", low=1)
    samples: int = hyper(1000, "n; ours for time, sec. 4 has 100,000: caps R at 2.46 sigma", low=1)
    alpha: float = hyper(0.001, "sec. 4", low=1e-12, high=0.5)

    def radius(self, target: Answers, x: Tensor, y: Tensor, rng: Generator) -> Tensor:
        if not isinstance(target.space, Box):
            raise NotApplicable("smoothing adds noise to real-valued inputs: images and tables")
        if not len(x):
            return x.new_zeros(0)
        first = torch.cat(list(self._draws(target, x, self.selection, rng)), 1)
        top = first.mode(1).values
        hits = torch.zeros_like(top)
        for answers in self._draws(target, x, self.samples, rng):
            hits += (answers == top[:, None]).sum(1)
        k = hits.cpu().numpy()
        # k = 0 leaves beta without a first parameter; its lower bound is zero
        low = np.where(k > 0, beta.ppf(self.alpha, np.maximum(k, 1), self.samples - k + 1), 0.0)
        radius = torch.tensor(self.sigma * norm.ppf(low), dtype=torch.float32, device=x.device)
        abstains = torch.tensor(low <= 0.5, device=x.device)
        return radius.masked_fill(abstains | (top != y), -1)

    def _draws(self, target: Answers, x: Tensor, count: int, rng: Generator) -> Iterator[Tensor]:
        """Answers (N, m) to noisy copies, in portions that add up to (N, count)."""
        space = target.space
        scale = torch.as_tensor(space.scale if isinstance(space, Box) else 1.0).to(x)
        most = max(1, ROWS // len(x))
        for start in range(0, count, most):
            size = min(most, count - start)
            noise = torch.empty(len(x), size, *x.shape[1:], dtype=x.dtype, device=x.device)
            noise.normal_(generator=rng)
            noisy = x.unsqueeze(1) + self.sigma * scale * noise
            yield target.answer(noisy.flatten(0, 1)).view(len(x), size)
