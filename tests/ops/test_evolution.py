"""Differential evolution: who may be combined with whom, and what survives."""

import torch

from holdfast.ops import evolution


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def members(rows: int = 50, size: int = 7) -> torch.Tensor:
    """Genes from which every sum a + b - c can be read back: powers of a small number."""
    return (5.0 ** torch.arange(size, dtype=torch.float64)).view(1, size, 1).expand(rows, -1, -1)


def test_a_child_combines_three_different_members_and_never_its_parent() -> None:
    population = members() / 5.0**8
    children = evolution.mutants(population, torch.zeros(50, 7), 0.5, rng(), best=False)
    seen = set()
    for row in range(50):
        for child in range(7):
            fits = [
                (a, b, c)
                for a in range(7) for b in range(7) for c in range(7)
                if len({a, b, c, child}) == 4
                and abs(float(max(0.0, 5.0**a + 0.5 * (5.0**b - 5.0**c)))
                        - float(children[row, child] * 5.0**8)) < 1e-6
            ]  # fmt: skip
            assert fits, "not a + (b - c) / 2 with a, b, c and the parent all different"
            seen.update(fits)
    assert len(seen) > 100


def test_the_best_member_leads_where_asked_to() -> None:
    population = torch.rand(4, 6, 3, generator=rng())
    fitness = torch.rand(4, 6, generator=rng(1))
    still = evolution.mutants(population, fitness, 0.0, rng(2), best=True)
    lead = population[torch.arange(4), fitness.argmax(1)].unsqueeze(1)
    assert torch.equal(still, lead.expand_as(still))
    wide = evolution.mutants(population, fitness, 2.0, rng(2), best=True)
    assert wide.min() >= 0
    assert wide.max() <= 1


def test_the_fitter_of_parent_and_child_survives() -> None:
    old, new = torch.zeros(1, 3, 2), torch.ones(1, 3, 2)
    genes, fitness = evolution.select(
        old, torch.tensor([[1.0, 2.0, 3.0]]), new, torch.tensor([[2.0, 2.0, 2.0]])
    )
    assert genes[0, :, 0].tolist() == [1, 1, 0]
    assert fitness.tolist() == [[2, 2, 3]]


def test_a_population_climbs_to_the_top_of_a_smooth_hill() -> None:
    top = torch.rand(5, 1, 4, generator=rng(3))
    genes, random = torch.rand(5, 30, 4, generator=rng()), rng(1)

    def height(x: torch.Tensor) -> torch.Tensor:
        return -(x - top).square().sum(2)

    fitness = height(genes)
    for _ in range(80):
        children = evolution.mutants(genes, fitness, 0.5, random, best=False)
        genes, fitness = evolution.select(genes, fitness, children, height(children))
    assert (fitness.amax(1) > -1e-3).all()
