"""Equation solving against linear models (Tramer et al. 2016)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import ExtractionAttack
from holdfast.core.method import hyper, method
from holdfast.core.recipe import Background
from holdfast.core.space import Budget
from holdfast.core.target import Scores
from holdfast.ops.blends import blends
from holdfast.targets.linear import LinearClassifier

LARGEST = 1024
"""Features beyond which a dense system of equations takes minutes."""
FAINT = 1e-9
"""Probabilities at or below it count as cut off: their logarithm says nothing."""
FAINT_LOG = -50.0
"""Stands for "no class" in a sum of exponentials, without the NaN gradient of -inf."""


@method(cites="tramer2016", where="sec. 4.1")
@dataclass(frozen=True)
class EquationSolving(ExtractionAttack[Scores]):
    r"""Equation solving.

    log p(x) = x @ weight + bias - log Z(x),  so  log p - mean log p  is linear in x

    and D + 1 answers at independent points give weight and bias exactly. Where the answers are
    rounded or cut, or the model turns out not to be linear, `oversample` (D + 1) answers are
    fitted instead, with one term for all classes of a row that the answer leaves unknown:

    max sum_rows  sum_known p_i log q_i + (1 - sum_known p_i) log( sum_unknown q_j )
    """

    oversample: int = hyper(4, "ours: makes up for rounding to one decimal", low=2)
    reach: float = hyper(0.5, "ours: distance of the points, in units of the pool's spread", low=0)
    iterations: int = hyper(300, "ours: L-BFGS steps of a fit", low=1)
    ridge: float = hyper(1e-5, "ours: keeps separable answers finite", low=0)

    def steal(
        self, target: Scores, pool: Dataset, background: Background, rng: Generator
    ) -> Iterator[Scores]:
        if pool.tensor[0].numel() > LARGEST:
            raise NotApplicable(f"solves dense equations, for at most {LARGEST} features")
        x = _points(target, pool.tensor, self.reach, rng)
        p = _ask(target, x)
        flat = x.flatten(1).double()
        weight, bias = _solve(flat, p)
        clear = bool(_known(p).all()) and not _rounded(p)
        if clear:
            yield LinearClassifier(weight, bias, target.space)
            test = pool.tensor[torch.randperm(len(pool), generator=rng)[:8]]
            told = _ask(target, test)
            guess = (test.flatten(1).double() @ weight + bias).softmax(1)
            if float((told - guess).abs().amax()) < 1e-4:
                return
        more = blends(pool.tensor, (self.oversample - 1) * len(x), rng)
        p = torch.cat([p, _ask(target, more)])
        flat = torch.cat([flat, more.flatten(1).double()])
        weight, bias = self._fit(flat, p)
        yield LinearClassifier(weight, bias, target.space)

    def _fit(self, x: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        """Weight (D, K) and bias (K,) of the largest likelihood, by L-BFGS on centred inputs."""
        centre, known = x.mean(0), _known(p)
        rest = (1 - (p * known).sum(1)).clamp(min=0)
        weight = p.new_zeros(x.shape[1], p.shape[1]).requires_grad_()
        bias = p.new_zeros(p.shape[1]).requires_grad_()
        optimiser = torch.optim.LBFGS(
            [weight, bias], max_iter=self.iterations, history_size=20, tolerance_grad=1e-10,
            tolerance_change=1e-14, line_search_fn="strong_wolfe",
        )  # fmt: skip

        def closure() -> Tensor:
            optimiser.zero_grad()
            with torch.enable_grad():
                q = ((x - centre) @ weight + bias).log_softmax(1)
                unknown = q.masked_fill(known, FAINT_LOG).logsumexp(1)
                likelihood = (p * q * known).sum(1) + rest * unknown
                loss = -likelihood.mean() + self.ridge * weight.square().sum()
            loss.backward()
            return loss.detach()

        optimiser.step(closure)
        return weight.detach(), (bias - centre @ weight).detach()


def _points(target: Scores, pool: Tensor, reach: float, rng: Generator) -> Tensor:
    """D + 1 valid inputs: the pool's mean, and one step from it along each of D random axes.

    Around the mean no class is certain, so that no probability is near 0 or 1.
    """
    flat = pool.flatten(1).double()
    spread = flat.var(0, correction=0).sum().sqrt().clamp(min=1e-6)
    axes = torch.randn(flat.shape[1], flat.shape[1], generator=rng, dtype=torch.float64)
    steps = reach * spread * torch.linalg.qr(axes).Q
    x = flat.mean(0) + torch.cat([torch.zeros_like(steps[:1]), steps])
    near = x.to(pool.dtype).view(-1, *pool.shape[1:])
    return target.space.project(near, near, Budget("linf", torch.inf))


def _ask(target: Scores, x: Tensor) -> Tensor:
    """Probabilities (N, K) in double precision."""
    return target.scores(x).double().softmax(1)


def _solve(x: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias from as many answers as unknowns; log-odds are up to a common shift."""
    odds = p.clamp(min=FAINT).log()
    one = torch.cat([x, torch.ones_like(x[:, :1])], 1)
    found = torch.linalg.lstsq(one, odds - odds.mean(1, keepdim=True)).solution
    return found[:-1], found[-1]


def _known(p: Tensor) -> Tensor:
    """(N, K) Boolean: neither cut off nor one of several equal smallest ones, as top-k leaves."""
    smallest = p <= p.amin(1, keepdim=True) + FAINT
    return (p > FAINT) & ~(smallest & (smallest.sum(1, keepdim=True) > 1))


def _rounded(p: Tensor) -> bool:
    """Whether all probabilities are multiples of a power of ten, up to single precision."""
    grids = [p * 10**d for d in range(6)]
    return any(bool(((g - g.round()).abs() < 1e-6 * 10**d).all()) for d, g in enumerate(grids))
