"""A small conditional GAN with an auxiliary classifier (Odena et al. 2017), trained on rows at hand."""

import copy
import math
from typing import cast

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot
from torch.nn.utils import parametrizations, parametrize

from holdfast.ops import surrogates
from holdfast.ops.rows import batches

SEEK = 0.05
"""Weight of the term that keeps a class from collapsing to one input (Mao et al. 2019, eq. 3)."""
KEEP = 0.995
"""How much of the mean over past generators each step keeps (Yazici et al. 2019, at our lengths)."""
WIDTH = 16
"""Channels of the larger maps; the smaller ones have twice as many."""
SMALLEST = 12
"""Pixels on the shorter side of images that get convolutions; dense layers are faster below."""


class Conditional(nn.Module):
    """A generator of inputs of a wanted class, and a critic that tells class and real from made.

    Images of at least 12 x 12 get convolutions, with batch normalisation in the generator and
    spectral normalisation in the critic (Miyato et al. 2018). Smaller images and all else get dense
    layers, and a critic with dropout, which keeps it from learning a few hundred rows by heart.
    """

    def __init__(
        self, latent: int, classes: int, shape: tuple[int, ...], low: Tensor, high: Tensor
    ) -> None:
        super().__init__()
        self.classes, self.latent = classes, latent
        large = _large(shape)
        body = _Grown(latent + classes, shape) if large else None
        self.decoder = surrogates.Decoder(latent + classes, shape, low, high, body)
        self.trunk = _conv_critic(shape) if large else _dense_critic(shape)
        self.real = nn.Linear(128, 1)
        self.kind = nn.Linear(128, classes)

    def made(self, z: Tensor, labels: Tensor) -> Tensor:
        """Inputs of the classes `labels` (N,) from codes z (N, latent)."""
        code = torch.cat([z, one_hot(labels, self.classes).to(z)], 1)
        out: Tensor = self.decoder(code)
        return out

    def told(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logit of being real (N,), and scores of the classes (N, classes)."""
        seen = self.trunk(x)
        return self.real(seen).squeeze(1), self.kind(seen)


def _large(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and min(shape[1:]) >= SMALLEST


class _Grown(nn.Module):
    """Codes to maps of a quarter of the size, doubled twice and cut to shape (C, H, W)."""

    def __init__(self, latent: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        channels, *self.size = shape
        h, w = (math.ceil(side / 4) for side in self.size)
        self.layers = nn.Sequential(
            nn.Linear(latent, 2 * WIDTH * h * w), nn.Unflatten(1, (2 * WIDTH, h, w)),
            nn.BatchNorm2d(2 * WIDTH), nn.ReLU(),
            nn.ConvTranspose2d(2 * WIDTH, WIDTH, 4, 2, 1), nn.BatchNorm2d(WIDTH), nn.ReLU(),
            nn.ConvTranspose2d(WIDTH, channels, 4, 2, 1),
        )  # fmt: skip

    def forward(self, code: Tensor) -> Tensor:
        h, w = self.size
        grown: Tensor = self.layers(code)
        return grown[..., :h, :w]


def _conv_critic(shape: tuple[int, ...]) -> nn.Sequential:
    channels, h, w = shape
    bound = parametrizations.spectral_norm
    return nn.Sequential(
        bound(nn.Conv2d(channels, WIDTH, 4, 2, 1)), nn.LeakyReLU(0.2),
        bound(nn.Conv2d(WIDTH, 2 * WIDTH, 4, 2, 1)), nn.LeakyReLU(0.2), nn.Flatten(),
        bound(nn.Linear(2 * WIDTH * (h // 4) * (w // 4), 128)), nn.LeakyReLU(0.2),
    )  # fmt: skip


def _dense_critic(shape: tuple[int, ...]) -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(math.prod(shape), 256), nn.LeakyReLU(0.2), nn.Dropout(0.3),
        nn.Linear(256, 128), nn.LeakyReLU(0.2), nn.Dropout(0.3),
    )  # fmt: skip


def reader(shape: tuple[int, ...], classes: int) -> nn.Module:
    """A classifier to judge what a GAN makes, for rows of that shape."""
    if not _large(shape):
        return surrogates.classifier(shape, classes)
    h, w = (math.ceil(side / 4) for side in shape[1:])
    return nn.Sequential(
        nn.Conv2d(shape[0], 16, 5, 2, 2), nn.ELU(), nn.Conv2d(16, 32, 5, 2, 2), nn.ELU(),
        nn.Flatten(), nn.Linear(32 * h * w, 128), nn.ELU(), nn.Linear(128, classes),
    )  # fmt: skip


def conditional(
    x: Tensor, y: Tensor, classes: int, box: tuple[Tensor, Tensor], latent: int, steps: int,
    rng: Generator,
) -> Conditional:  # fmt: skip
    """Train on rows x (N, ...) with labels y (N,) for `steps` alternating steps of Adam; ends frozen.

    The generator is a running mean over training, which is steadier than its last step.
    """
    low, high = box
    shape = tuple(x.shape[1:])
    fresh = surrogates.seeded(lambda: Conditional(latent, classes, shape, low, high), rng)
    net = cast(Conditional, fresh)
    grown = list(net.decoder.parameters())
    critic = [*net.trunk.parameters(), *net.real.parameters(), *net.kind.parameters()]
    maker = torch.optim.Adam(grown, 1e-3, betas=(0.5, 0.99))
    judge = torch.optim.Adam(critic, 5e-4, betas=(0.5, 0.99))
    steady = copy.deepcopy(net.decoder)
    seed = int(torch.randint(2**31, (1,), generator=rng, device=rng.device))
    devices = [x.device] if x.device.type == "cuda" else []
    parts: list[Tensor] = []
    with torch.random.fork_rng(devices=devices), torch.enable_grad():
        torch.manual_seed(seed)  # dropout layers draw from the global stream
        net.train()
        for step in range(steps):
            if not parts:
                order = torch.randperm(len(x), generator=rng, device=rng.device)
                parts = batches(order.to(x.device), 64)
            rows = parts.pop()
            z = torch.empty(len(rows), latent, device=x.device).normal_(generator=rng)
            made = net.made(z, y[rows])
            seen, kind = net.told(torch.cat([x[rows], made.detach()]))
            real, fake = seen.split(len(rows))
            loss = _bce(real, 0.9) + _bce(fake, 0.0) + cross_entropy(kind[: len(rows)], y[rows])
            judge.zero_grad()
            loss.backward()
            judge.step()
            fake, kind = net.told(made)
            half = len(rows) // 2
            apart = (made[:half] - made[half : 2 * half]).abs().flatten(1).mean(1)
            codes = (z[:half] - z[half : 2 * half]).abs().mean(1)
            loss = _bce(fake, 1.0) + cross_entropy(kind, y[rows])
            if half:
                loss = loss + SEEK * (codes / (apart + 1e-3)).mean()
            maker.zero_grad()
            loss.backward(inputs=grown)  # the critic's own gradients are not needed here
            maker.step()
            _follow(steady, net.decoder, min(KEEP, (step + 1) / (step + 10)))
    net.decoder = steady
    for optimiser in (maker, judge):
        optimiser.zero_grad(set_to_none=True)
    for layer in net.trunk:
        if parametrize.is_parametrized(layer):
            parametrize.remove_parametrizations(layer, "weight")
    net.eval().requires_grad_(False)
    return net


@torch.no_grad()
def _follow(steady: nn.Module, latest: nn.Module, keep: float) -> None:
    """Move all weights, and means of batches, a little towards the latest."""
    for old, new in zip(steady.state_dict().values(), latest.state_dict().values(), strict=True):
        old.copy_(old.lerp(new, 1 - keep) if old.is_floating_point() else new)


def _bce(logit: Tensor, wanted: float) -> Tensor:
    return binary_cross_entropy_with_logits(logit, torch.full_like(logit, wanted))
