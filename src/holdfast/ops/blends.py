"""More inputs from few: points between pairs of given rows."""

import torch
from torch import Generator, Tensor


def blends(x: Tensor, count: int, rng: Generator) -> Tensor:
    """`count` points u a + (1 - u) b with a, b rows of `x` (N, ...) and u uniform in [0, 1].

    They stay in any convex set that holds the rows, and cross the borders between classes.
    """
    a, b = torch.randint(len(x), (2, count), generator=rng)
    u = torch.rand(count, *[1] * (x.ndim - 1), generator=rng).to(x.dtype)
    return u * x[a] + (1 - u) * x[b]
