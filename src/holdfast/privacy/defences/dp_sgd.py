"""Differentially private stochastic gradient descent (Abadi et al. 2016)."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Generator, nn
from torch.nn.functional import cross_entropy

from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError, MissingExtra, NotApplicable
from holdfast.core.kinds import TrainingDefence
from holdfast.core.method import hyper, method
from holdfast.core.recipe import TorchRecipe
from holdfast.core.record import Measurement
from holdfast.ops.losses import two_logits


@method(cites="abadi2016", where="alg. 1", extra="dp")
@dataclass(frozen=True)
class DPSGD(TrainingDefence):
    r"""Differentially private SGD (DP-SGD).

    g_i = grad l(theta, x_i),  g_i <- g_i / max(1, ||g_i|| / clip)
    theta <- theta - rate * ( sum_i g_i + N(0, (noise * clip)^2) ) / batch

    on batches into which every row is drawn by itself with probability batch / N (Poisson
    sampling, which the accountant supposes). Yields the epsilon spent so far at `delta`, for
    adding or removing one row, and the loss of every epoch. It covers this one training run only,
    not a search for hyperparameters on the same rows.
    """

    epochs: int = hyper(20, "ours: digits-sized data", low=1)
    batch: int = hyper(64, "Opacus MNIST example", low=1)
    rate: float = hyper(0.25, "Opacus MNIST example", low=0)
    noise: float = hyper(1.3, "sigma; Opacus MNIST example", low=0.01)
    clip: float = hyper(1.5, "C; Opacus MNIST example", low=1e-6)
    delta: float = hyper(1e-5, "sec. 5", low=1e-12, high=1)
    accountant: str = hyper(
        "rdp", "ours: exact within a few percent, and fast", choices=("rdp", "prv")
    )

    def train(
        self, module: nn.Module, recipe: TorchRecipe, data: Dataset, rng: Generator
    ) -> Iterator[Measurement]:
        if self.delta * len(data) >= 1:
            fix = f"give a delta below 1 / {len(data)}: above, publishing a row at random would do"
            raise InputError("delta must be below one row's share", got=self.delta, fix=fix)
        _refuse_batch_norm(module)
        tools = _opacus()
        share = min(1.0, self.batch / len(data))
        steps = max(1, round(1 / share))
        accountant = tools.create_accountant(self.accountant)
        with _quiet():
            wrapped = tools.GradSampleModule(module, strict=False)
        optimiser = tools.DPOptimizer(
            torch.optim.SGD(module.parameters(), self.rate),
            noise_multiplier=self.noise, max_grad_norm=self.clip,
            expected_batch_size=max(1, round(share * len(data))), generator=rng,
        )  # fmt: skip
        try:
            for epoch in range(1, self.epochs + 1):
                wrapped.train()
                with _quiet():
                    losses = [
                        self._step(wrapped, optimiser, data, share, rng) for _ in range(steps)
                    ]
                    for _ in range(steps):
                        accountant.step(noise_multiplier=self.noise, sample_rate=share)
                    spent = float(accountant.get_epsilon(self.delta))
                wrapped.eval()
                part, n = f"epoch={epoch}", len(data)
                yield Measurement("training loss", sum(losses) / steps, n, part=part)
                yield Measurement(
                    "epsilon", spent, n, spent, spent, part, f"at delta={self.delta:g}"
                )
        finally:
            module.eval()
            with _quiet():
                wrapped.to_standard_module()
            for p in module.parameters():
                p.grad = None
                vars(p).pop("summed_grad", None)

    def _step(
        self, wrapped: nn.Module, optimiser: Any, data: Dataset, share: float, rng: Generator
    ) -> float:
        """One noisy step, also on an empty batch: to leave it out would tell that it was empty."""
        rows = (torch.rand(len(data), generator=rng) < share).nonzero().flatten()
        optimiser.zero_grad()
        losses = cross_entropy(
            two_logits(wrapped(data.tensor[rows])), data.y[rows], reduction="sum"
        )
        loss = losses / max(1, len(rows))  # the hooks undo this mean, row by row
        loss.backward()
        optimiser.step()
        return float(loss.detach())


def _refuse_batch_norm(module: nn.Module) -> None:
    for name, layer in module.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            raise NotApplicable(
                f"layer {name} is a BatchNorm, which mixes rows, so that no row's gradient can be "
                "clipped by itself: use nn.GroupNorm"
            )


def _opacus() -> SimpleNamespace:
    """The parts of Opacus that are used, imported when they are first needed."""
    try:
        with _quiet():
            from opacus import GradSampleModule
            from opacus.accountants import create_accountant
            from opacus.optimizers import DPOptimizer
    except ImportError as error:
        raise MissingExtra("opacus", "dp") from error
    return SimpleNamespace(
        GradSampleModule=GradSampleModule,
        DPOptimizer=DPOptimizer,
        create_accountant=create_accountant,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Opacus warns of its own hooks, of tight accountants and of its random numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
