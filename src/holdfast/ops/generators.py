"""A small conditional GAN with an auxiliary classifier (Odena et al. 2017), trained on rows at hand."""

import math
from typing import cast

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot

from holdfast.ops.rows import batches
from holdfast.ops.surrogates import Decoder, seeded

SEEK = 0.05
"""Weight of the term that keeps a class from collapsing to one input (Mao et al. 2019, eq. 3)."""


class Conditional(nn.Module):
    """A generator of inputs of a wanted class, and a critic that tells class and real from made.

    The critic has dropout, which keeps it from learning a few hundred rows by heart.
    """

    def __init__(
        self, latent: int, classes: int, shape: tuple[int, ...], low: Tensor, high: Tensor
    ) -> None:
        super().__init__()
        self.classes, self.latent = classes, latent
        self.decoder = Decoder(latent + classes, shape, low, high)
        self.trunk = nn.Sequential(
            nn.Flatten(), nn.Linear(math.prod(shape), 256), nn.LeakyReLU(0.2), nn.Dropout(0.3),
            nn.Linear(256, 128), nn.LeakyReLU(0.2), nn.Dropout(0.3),
        )  # fmt: skip
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


def conditional(
    x: Tensor, y: Tensor, classes: int, box: tuple[Tensor, Tensor], latent: int, steps: int,
    rng: Generator,
) -> Conditional:  # fmt: skip
    """Train on rows x (N, ...) with labels y (N,) for `steps` alternating steps of Adam; ends frozen."""
    low, high = box
    shape = tuple(x.shape[1:])
    net = cast(Conditional, seeded(lambda: Conditional(latent, classes, shape, low, high), rng))
    critic = [*net.trunk.parameters(), *net.real.parameters(), *net.kind.parameters()]
    maker = torch.optim.Adam(net.decoder.parameters(), 1e-3, betas=(0.5, 0.99))
    judge = torch.optim.Adam(critic, 5e-4, betas=(0.5, 0.99))
    seed = int(torch.randint(2**31, (1,), generator=rng, device=rng.device))
    devices = [x.device] if x.device.type == "cuda" else []
    parts: list[Tensor] = []
    with torch.random.fork_rng(devices=devices), torch.enable_grad():
        torch.manual_seed(seed)  # dropout layers draw from the global stream
        net.train()
        for _ in range(steps):
            if not parts:
                order = torch.randperm(len(x), generator=rng, device=rng.device)
                parts = batches(order.to(x.device), 64)
            rows = parts.pop()
            z = torch.empty(len(rows), latent, device=x.device).normal_(generator=rng)
            made = net.made(z, y[rows])
            (real, kind), (fake, _) = net.told(x[rows]), net.told(made.detach())
            loss = _bce(real, 0.9) + _bce(fake, 0.0) + cross_entropy(kind, y[rows])
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
            loss.backward()
            maker.step()
    for optimiser in (maker, judge):
        optimiser.zero_grad(set_to_none=True)
    net.eval().requires_grad_(False)
    return net


def _bce(logit: Tensor, wanted: float) -> Tensor:
    return binary_cross_entropy_with_logits(logit, torch.full_like(logit, wanted))
