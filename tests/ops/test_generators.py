"""A conditional GAN of images: planted shapes come out, of any size, and the critic is bounded."""

import pytest
import torch
from torch import nn

from holdfast.ops.generators import _follow, conditional, reader

UNIT = torch.tensor(0.0), torch.tensor(1.0)


def bars(n: int = 600, side: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Class 0 has four bright rows, class 1 four bright columns, at a random place."""
    rng = torch.Generator().manual_seed(0)
    y, place = torch.arange(n) % 2, torch.randint(side - 3, (n, 1), generator=rng)
    flat = 0.1 * torch.rand(n, 1, side, side, generator=rng)
    beyond = torch.arange(side) - place
    flat += 0.8 * ((beyond >= 0) & (beyond < 4)).view(n, 1, side, 1)
    return torch.where(y.view(-1, 1, 1, 1) == 0, flat, flat.transpose(2, 3)), y


def lying(x: torch.Tensor) -> torch.Tensor:
    """Whether the brightest row is brighter than the brightest column."""
    return x.mean((1, 3)).amax(1) > x.mean((1, 2)).amax(1)


@pytest.fixture(scope="module")
def trained():
    x, y = bars()
    return conditional(x, y, 2, UNIT, 4, 200, torch.Generator().manual_seed(0))


def test_images_show_the_wanted_shape_in_many_places(trained) -> None:
    x, real = bars()
    assert (lying(x) == (real == 0)).all()
    y = torch.arange(400) % 2
    made = trained.made(torch.randn(400, 4, generator=torch.Generator().manual_seed(1)), y)
    assert (lying(made) == (y == 0)).float().mean() > 0.95
    for places in (made[y == 0].mean(3).argmax(2), made[y == 1].mean(2).argmax(2)):
        assert len(places.unique()) >= 4
    # noise, and what a generator makes that is not held to be real, are 5.7 away
    assert torch.cdist(made.flatten(1), x.flatten(1)).amin(1).median() < 4
    assert (trained.told(x)[1].argmax(1) == real).float().mean() > 0.97


def test_the_critic_of_images_never_stretches_much(trained) -> None:
    """Each layer has spectral norm 1, up to what one power iteration per step misses."""
    for layer in trained.trunk:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            norm = float(torch.linalg.matrix_norm(layer.weight.flatten(1), 2))
            assert norm == pytest.approx(1, abs=0.3)
            assert not layer.weight.requires_grad


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 14), (1, 28, 28), (3, 32, 32), (1, 5, 9)])
def test_any_size_of_image_has_a_generator_within_the_bounds(shape) -> None:
    x = torch.rand(6, *shape, generator=torch.Generator().manual_seed(0))
    low, high = torch.full(shape, -1.0), torch.full(shape, 0.5)
    args = x, torch.arange(6) % 3, 3, (low, high), 2, 2
    net = conditional(*args, torch.Generator().manual_seed(0))
    z, y = torch.randn(5, 2), torch.tensor([0, 1, 2, 0, 1])
    made = net.made(z, y)
    assert made.shape == (5, *shape)
    assert (made >= -1).all()
    assert (made <= 0.5).all()
    assert [t.shape for t in net.told(made)] == [(5,), (5, 3)]
    assert reader(shape, 3)(made).shape == (5, 3)
    again = conditional(*args, torch.Generator().manual_seed(0))
    assert torch.equal(again.made(z, y), made)


def test_the_kept_generator_is_a_running_mean() -> None:
    old, new = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    for net, value in ((old, 1.0), (new, 5.0)):
        nn.init.constant_(net.weight, value)
        net.running_mean.fill_(value)
    new.num_batches_tracked += 3
    _follow(old, new, 0.75)
    assert float(old.weight.detach()) == float(old.running_mean) == 2.0
    assert int(old.num_batches_tracked) == 3
