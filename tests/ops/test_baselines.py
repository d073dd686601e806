"""Strengths of model-free changes, and the search for the least that changes an answer."""

from itertools import pairwise

import pytest
import torch

from holdfast.ops.baselines import BASELINES, raised


def images() -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return torch.rand(6, 2, 12, 10, generator=rng), torch.rand(6, 2, 12, 10, generator=rng)


@pytest.mark.parametrize("name", BASELINES)
def test_no_strength_changes_nothing_and_more_changes_more(name) -> None:
    x, pattern = images()
    sizes = []
    for strength in (0.0, 0.1, 0.4, 1.0):
        changed = BASELINES[name](x, torch.full((6,), strength), pattern)
        assert changed.shape == x.shape
        assert ((changed >= 0) & (changed <= 1)).all()
        sizes.append((changed - x).flatten(1).norm(dim=1))
    assert torch.allclose(sizes[0], torch.zeros(6), atol=1e-5)
    assert all((a < b).all() for a, b in pairwise(sizes))


def test_the_strongest_of_each_is_what_its_name_says() -> None:
    x, pattern = images()
    one = torch.ones(6)
    assert set(BASELINES["salt and pepper"](x, one, pattern).unique().tolist()) == {0.0, 1.0}
    assert (BASELINES["contrast reduction"](x, one, pattern) == 0.5).all()
    blurred = BASELINES["Gaussian blur"](x, one, pattern)
    assert (blurred.std((2, 3)) < 0.2 * x.std((2, 3))).all()
    share = (BASELINES["salt and pepper"](x, 0.3 * one, pattern) != x).float().mean()
    assert 0.25 < share < 0.35


def test_blurring_a_point_gives_the_normal_density() -> None:
    x = torch.zeros(1, 1, 21, 21)
    x[0, 0, 10, 10] = 1
    sigma = 2.0
    blurred = BASELINES["Gaussian blur"](x, torch.tensor([sigma / 10.5]), x)[0, 0]
    place = torch.arange(21) - 10.0
    density = torch.exp(-(place**2) / (2 * sigma**2))
    density = density / density.sum()
    assert torch.allclose(blurred, density.view(-1, 1) * density, atol=1e-4)


def test_the_least_strength_is_found_and_every_query_is_counted() -> None:
    x, pattern = torch.full((3, 1, 4, 4), 0.1), torch.zeros(3, 1, 4, 4)
    limit, asked = torch.tensor([0.333, 0.07, 2.0]), []

    def reached(points: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        asked.append(len(rows))
        return (points.flatten(1).mean(1) - 0.1) / 0.4 > limit[rows]

    best, found = raised(BASELINES["contrast reduction"], reached, x, pattern, 20, 10)
    assert found.tolist() == [True, True, False]
    strength = (best.flatten(1).mean(1) - 0.1) / 0.4
    assert torch.allclose(strength[:2], limit[:2], atol=1e-3)
    assert (strength[:2] > limit[:2]).all()
    assert torch.equal(best[2], x[2])
    assert sum(asked) == 7 + 2 + 20 + 2 * 10
