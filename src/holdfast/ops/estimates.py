"""Gradients estimated from values alone. `loss` maps points (N, P, ...) to values (N, P).

Directions, steps and estimates are in units of change: `unit`, a number or of one row's shape, says
what one unit is in the values of `at`.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Generator, Tensor

from holdfast.ops import balls

Loss = Callable[[Tensor], Tensor]
AT_ONCE = 4096
"""Points held in memory together; estimates are sums, so they can be gathered in parts."""


def parts(count: int, rows: int) -> Iterator[int]:
    """`count` split so that no part times `rows` is far above `AT_ONCE`."""
    most = max(1, AT_ONCE // max(1, rows))
    for start in range(0, count, most):
        yield min(most, count - start)


def draw(at: Tensor, count: int, rng: Generator, *, signs: bool = False) -> Tensor:
    """(N, P, ...) standard normal draws, or signs."""
    shape = (len(at), count, *at.shape[1:])
    if signs:
        bits = torch.randint(2, shape, generator=rng, device=rng.device)
        return (2 * bits - 1).to(at)
    return torch.randn(shape, generator=rng, device=rng.device, dtype=at.dtype)


def dot(weights: Tensor, directions: Tensor) -> Tensor:
    """Sum over p of weights (N, P) times directions (N, P, ...)."""
    return torch.einsum("np,np...->n...", weights, directions)


def antithetic(
    loss: Loss, at: Tensor, sigma: float, pairs: int, rng: Generator,
    unit: Tensor | float = 1.0, *, signs: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """1 / (2 pairs sigma) sum (f(x + sigma u) - f(x - sigma u)) u, and the mean value seen.

    Normal u: NES with antithetic sampling (Ilyas et al. 2018, sec. 2.1.1). Random signs u: SPSA
    (Uesato et al. 2018, alg. 1; dividing by a sign is multiplying with it). Both are unbiased on
    linear functions.
    """
    total, seen = torch.zeros_like(at), at.new_zeros(len(at))
    for part in parts(pairs, 2 * len(at)):
        u = draw(at, part, rng, signs=signs)
        way = sigma * unit * u
        both = loss(torch.cat([at.unsqueeze(1) + way, at.unsqueeze(1) - way], 1))
        plus, minus = both[:, :part], both[:, part:]
        total += dot((plus - minus) / (2 * sigma), u)
        seen += both.sum(1)
    return total / pairs, seen / (2 * pairs)


def search_gradient(
    loss: Loss, at: Tensor, sigma: float, count: int, rng: Generator
) -> tuple[Tensor, Tensor]:
    """1 / (count sigma) sum z_i u_i with z the values of f(x + sigma u_i) as standard scores.

    Gradient of the expected value in the mean of a Gaussian (Li et al. 2019, eq. 7 and 8).
    """
    u, values = [], []
    for part in parts(count, len(at)):
        u.append(draw(at, part, rng))
        values.append(loss(at.unsqueeze(1) + sigma * u[-1]))
    value = torch.cat(values, 1)
    spread = value.std(1, correction=0, keepdim=True) + 1e-7
    score = (value - value.mean(1, keepdim=True)) / spread
    return dot(score, torch.cat(u, 1)) / (count * sigma), value.mean(1)


def coordinates(
    loss: Loss, at: Tensor, index: Tensor, width: float, unit: Tensor | float = 1.0
) -> tuple[Tensor, Tensor]:
    """(N, B) symmetric quotients along the coordinates `index` (N, B), and the mean value seen.

    (f(x + h e_i) - f(x - h e_i)) / 2 h (Chen et al. 2017, eq. 6): exact on quadratic functions.
    """
    slopes, seen = [], at.new_zeros(len(at))
    for part in index.split(max(1, AT_ONCE // (2 * max(1, len(at)))), 1):
        way = torch.zeros(*part.shape, at[:1].numel(), dtype=at.dtype, device=at.device)
        way = way.scatter(2, part.unsqueeze(2), width).view(*part.shape, *at.shape[1:]) * unit
        both = loss(torch.cat([at.unsqueeze(1) + way, at.unsqueeze(1) - way], 1))
        plus, minus = both.chunk(2, 1)
        slopes.append((plus - minus) / (2 * width))
        seen = seen + both.sum(1)
    return torch.cat(slopes, 1), seen / (2 * index.shape[1])


def guided(  # noqa: PLR0913  # the point, its prior and the estimate's three settings
    loss: Loss, value: Tensor, at: Tensor, prior: Tensor, share: Tensor, sigma: float, count: int,
    rng: Generator, unit: Tensor | float = 1.0,
) -> Tensor:  # fmt: skip
    """1 / count sum (f(x + sigma u_i) - f(x)) / sigma u_i with directions drawn towards a prior.

    u = sqrt(share) v + sqrt(1 - share) n, with n uniform on the unit sphere orthogonal to the prior
    v, a unit vector (Cheng et al. 2019, eq. 5 and 12).

    Args:
        loss: the function.
        value: (N,) its values at the points.
        at: the points (N, ...).
        prior: (N, ...) unit vectors, or zero where there is none.
        share: (N,) lambda, from zero to one.
        sigma: length of a step.
        count: how many values are asked for.
        rng: random stream.
        unit: what one unit of change is.
    """
    total, towards = torch.zeros_like(at), prior.unsqueeze(1)
    weight = balls.rows(share, at).unsqueeze(1)
    for part in parts(count, len(at)):
        noise = draw(at, part, rng)
        along = (noise * towards).flatten(2).sum(2)
        noise = noise - towards * along.view(*along.shape, *[1] * (at.ndim - 1))
        noise = balls.steepest(noise.flatten(0, 1), "l2").view_as(noise)
        u = weight.sqrt() * towards + (1 - weight).sqrt() * noise
        rise = loss(at.unsqueeze(1) + sigma * unit * u) - value.unsqueeze(1)
        total += dot(rise / sigma, u)
    return total / count


def prior_share(cosine: Tensor, dims: int, count: int) -> Tensor:
    """The share lambda of a prior that makes `guided` point best (Cheng et al. 2019, eq. 13).

    Args:
        cosine: (N,) of the angle between prior and gradient.
        dims: D, number of features.
        count: q, how many values are asked for.
    """
    a, limit = cosine.square(), dims + 2 * count - 2
    inner = (1 - a) * (1 - a * limit) / (a.square() * dims * limit - 2 * a * dims * count + 1)
    inner = torch.where(a * limit <= 1, torch.zeros_like(a), inner)
    return torch.where(a * limit >= 2 * count - 1, torch.ones_like(a), inner)
