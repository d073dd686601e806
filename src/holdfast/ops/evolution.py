"""Differential evolution of many populations at once; genes lie between zero and one."""

import torch
from torch import Generator, Tensor


def mutants(
    population: Tensor, fitness: Tensor, weight: float | Tensor, rng: Generator, *, best: bool
) -> Tensor:
    """One child per member: a + weight (b - c), clipped (Storn and Price 1997, "rand/1" or "best/1").

    Args:
        population: (N, P, K) genes of P >= 4 members for each of N rows.
        fitness: (N, P), the larger the better.
        weight: differential weight F, a number or (N, 1, 1).
        rng: random stream.
        best: start from the row's fittest member rather than from a random one.
    """
    n, size, genes = population.shape
    # three different members, none of them the parent: shifts along a shuffled ring
    ring = torch.rand(n, size, generator=rng, device=rng.device).argsort(1)
    shifts = torch.rand(n, size - 1, generator=rng, device=rng.device).argsort(1)[:, :3] + 1
    place = ring.argsort(1).unsqueeze(2) + shifts.unsqueeze(1)
    others = ring.unsqueeze(1).expand(-1, size, -1).gather(2, place % size)
    a, b, c = (population.gather(1, others[..., k : k + 1].expand(-1, -1, genes)) for k in range(3))
    if best:
        a = population.gather(1, fitness.argmax(1).view(-1, 1, 1).expand(-1, 1, genes))
    return (a + weight * (b - c)).clamp(0, 1)


def select(
    population: Tensor, fitness: Tensor, children: Tensor, theirs: Tensor
) -> tuple[Tensor, Tensor]:
    """Each child takes its parent's place where it is at least as fit."""
    better = theirs >= fitness
    return torch.where(better.unsqueeze(2), children, population), torch.where(
        better, theirs, fitness
    )
