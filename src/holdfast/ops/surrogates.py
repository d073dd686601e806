"""Small networks that stand in for something without a useful gradient, trained on its own answers."""

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Generator, Tensor, nn

from holdfast.ops.rows import batches

DENSE = 1 << 20
"""Largest full linear map, in weights; larger inputs get convolutions."""
Loss = Callable[[Tensor, Tensor], Tensor]


def seeded(make: Callable[[], nn.Module], rng: Generator) -> nn.Module:
    """A module whose initial weights come from `rng` alone, on its device."""
    seed = int(torch.randint(2**31, (1,), generator=rng, device=rng.device))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make().to(rng.device)


def fit(
    module: nn.Module, x: Tensor, y: Tensor, loss: Loss, steps: int, rng: Generator,
    rate: float = 2e-3,
) -> nn.Module:  # fmt: skip
    """Train in place on batches of 128 rows for `steps` steps of Adam; ends frozen.

    `loss(output, y)` gives a number. The learning rate falls to zero along a cosine.
    """
    optimiser = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps))
    parts: list[Tensor] = []
    with torch.enable_grad():
        module.train()
        for _ in range(steps):
            if not parts:
                order = torch.randperm(len(x), generator=rng, device=rng.device)
                parts = batches(order.to(x.device), 128)
            rows = parts.pop()
            value = loss(module(x[rows]), y[rows])
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            schedule.step()
    optimiser.zero_grad(set_to_none=True)
    return module.eval().requires_grad_(False)


class Mapper(nn.Module):
    """Inputs to inputs: the best linear map, plus a network for what is left of it.

    Rows (N, ...) of shape `before` become rows of shape `after`.
    """

    def __init__(self, x: Tensor, y: Tensor, width: int = 128) -> None:
        super().__init__()
        self.after = y.shape[1:]
        inputs, outputs = x[0].numel(), y[0].numel()
        weight, bias = least_squares(x.flatten(1), y.flatten(1))
        self.straight = nn.Linear(inputs, outputs)
        self.straight.load_state_dict({"weight": weight.T, "bias": bias})
        self.straight.requires_grad_(False)
        last = nn.Linear(width, outputs)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.bent = nn.Sequential(
            nn.Linear(inputs, width), nn.ELU(), nn.Linear(width, width), nn.ELU(), last
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        moved: Tensor = self.straight(flat) + self.bent(flat)
        return moved.view(-1, *self.after)


class ConvMapper(nn.Module):
    """Images (N, C, H, W) to images of the same size, for changes that act nearby."""

    def __init__(self, channels: int, width: int = 24) -> None:
        super().__init__()
        self.straight = nn.Conv2d(channels, channels, 5, padding=2)
        self.bent = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.ELU(),
            nn.Conv2d(width, width, 3, padding=1), nn.ELU(),
            nn.Conv2d(width, channels, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        moved: Tensor = self.straight(x) + self.bent(x)
        return moved


def least_squares(x: Tensor, y: Tensor, ridge: float = 1e-4) -> tuple[Tensor, Tensor]:
    """Weights (D, E) and bias (E,) of the linear map nearest to x -> y: (M, D), (M, E).

    Solved in double precision; `ridge` is relative to the mean variance of a feature, so that
    features that never move get no weight.
    """
    mean_x, mean_y = x.double().mean(0), y.double().mean(0)
    a, b = x.double() - mean_x, y.double() - mean_y
    gram = a.T @ a
    level = ridge * float(gram.diagonal().mean()) + 1e-12
    eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    weight = torch.linalg.solve(gram + level * eye, a.T @ b)
    return weight.to(x.dtype), (mean_y - mean_x @ weight).to(x.dtype)


def mimic(x: Tensor, y: Tensor, steps: int, rng: Generator) -> nn.Module | None:
    """A smooth network trained to map rows x (M, ...) to rows y (M, ...); None where none fits.

    That is where inputs are too large for a full map and are not images of one size.
    """
    dense = x[0].numel() * y[0].numel() <= DENSE
    if not dense and (x.ndim != 4 or x.shape != y.shape):
        return None
    make = (lambda: Mapper(x, y)) if dense else (lambda: ConvMapper(x.shape[1]))
    return fit(seeded(make, rng), x, y, lambda a, b: (a - b).square().mean(), steps, rng)


def pulled(module: Callable[[Tensor], Tensor], x: Tensor, grad: Tensor) -> Tensor:
    """grad^T J: the gradient in x of what has gradient `grad` in module(x)."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad(module(x), x, grad)[0]


def classifier(shape: tuple[int, ...], classes: int, width: int = 128) -> nn.Module:
    """A small smooth classifier of rows of that shape: convolutions for images, else dense layers."""
    size = math.prod(shape)
    if len(shape) != 3 or min(shape[1:]) < 4:
        return nn.Sequential(
            nn.Flatten(), nn.Linear(size, width), nn.ELU(), nn.Linear(width, width), nn.ELU(),
            nn.Linear(width, classes),
        )  # fmt: skip
    return nn.Sequential(
        nn.Conv2d(shape[0], 16, 3, padding=1), nn.ELU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ELU(), nn.AdaptiveAvgPool2d(4),
        nn.Flatten(), nn.Linear(32 * 16, width), nn.ELU(), nn.Linear(width, classes),
    )  # fmt: skip


class Decoder(nn.Module):
    """Codes (N, latent) to rows of shape `after` between `low` and `high`, by dense layers or `body`."""

    def __init__(
        self, latent: int, after: tuple[int, ...], low: Tensor, high: Tensor,
        body: nn.Module | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.after = after
        self.register_buffer("low", low)
        self.register_buffer("high", high)
        self.body = body or nn.Sequential(
            nn.Linear(latent, 128), nn.ELU(), nn.Linear(128, 128), nn.ELU(),
            nn.Linear(128, math.prod(after)),
        )  # fmt: skip

    def forward(self, code: Tensor) -> Tensor:
        unit: Tensor = self.body(code).sigmoid().reshape(-1, *self.after)
        low, high = self.get_buffer("low"), self.get_buffer("high")
        return low + (high - low) * unit


class Autoencoder(nn.Module):
    """Rows to codes of unit spread and back."""

    def __init__(self, latent: int, shape: tuple[int, ...], low: Tensor, high: Tensor) -> None:
        super().__init__()
        size = math.prod(shape)
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(size, 128), nn.ELU(), nn.Linear(128, 128), nn.ELU(),
            nn.Linear(128, latent), nn.BatchNorm1d(latent, affine=False),
        )  # fmt: skip
        self.decoder = Decoder(latent, shape, low, high)

    def forward(self, x: Tensor) -> Tensor:
        back: Tensor = self.decoder(self.encoder(x))
        return back


def autoencoder(
    x: Tensor, low: Tensor, high: Tensor, latent: int, steps: int, rng: Generator
) -> Autoencoder:
    """An autoencoder of the rows x (N, ...), whose decoder's range passes near all of them."""
    made = seeded(lambda: Autoencoder(latent, tuple(x.shape[1:]), low, high), rng)
    if len(x) == 1:
        x = torch.cat([x, x])  # batch normalisation has no spread of one row
    fit(made, x, x, lambda a, b: (a - b).square().mean(), steps, rng)
    return cast(Autoencoder, made)
