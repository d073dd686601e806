"""Proximal operators against a search for the minimum that defines them."""

import pytest
import torch

from holdfast.ops import balls
from holdfast.ops.prox import prox, prox_two_thirds

WEIGHT = 0.05


def cost(z: torch.Tensor, d: torch.Tensor, penalty: torch.Tensor) -> torch.Tensor:
    return (z - d).square().flatten(1).sum(1) / 2 + WEIGHT * penalty


@pytest.mark.parametrize("norm", ["l1", "l0", "two thirds"])
def test_single_features_go_where_the_cost_is_least(norm: str) -> None:
    d = torch.cat([torch.linspace(-0.8, 0.8, 33), torch.tensor([1e-9])]).double().unsqueeze(1)
    grid = torch.arange(-10000, 10001).double() / 10000
    penalty = {"l1": grid.abs(), "l0": (grid != 0).double(), "two thirds": grid.abs() ** (2 / 3)}
    wanted = grid[((grid - d).square() / 2 + WEIGHT * penalty[norm]).argmin(1)]
    weight = torch.full((len(d),), WEIGHT).double()
    got = prox_two_thirds(d, weight) if norm == "two thirds" else prox(d, norm, weight)
    assert torch.allclose(got.squeeze(1), wanted, atol=2e-4)


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_no_nearby_point_costs_less(norm: str) -> None:
    rng = torch.Generator().manual_seed(0)
    d = 0.2 * torch.randn(4, 2, 3, generator=rng, dtype=torch.float64)
    z = prox(d, norm, torch.full((4,), WEIGHT, dtype=torch.float64))
    least = cost(z, d, balls.size(z, norm))
    assert (least < cost(d, d, balls.size(d, norm))).all()
    for _ in range(200):
        near = z + 0.01 * torch.randn(4, 2, 3, generator=rng, dtype=torch.float64)
        assert (cost(near, d, balls.size(near, norm)) >= least).all()


@pytest.mark.parametrize("norm", ["l1", "l2", "linf", "l0"])
def test_a_weight_of_its_own_for_every_row(norm: str) -> None:
    d = torch.tensor([[0.3, -0.1], [0.3, -0.1]])
    z = prox(d, norm, torch.tensor([0.0, 10.0]))
    assert torch.allclose(z[0], d[0])
    assert (z[1] == 0).all()
