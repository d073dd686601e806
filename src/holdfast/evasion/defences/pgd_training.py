"""Adversarial training with PGD (Madry et al. 2018)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

from holdfast.core.dataset import Dataset
from holdfast.core.goal import AwayFrom
from holdfast.core.kinds import TrainingDefence
from holdfast.core.method import hyper, method
from holdfast.core.recipe import TorchRecipe
from holdfast.core.record import Measurement
from holdfast.core.space import Budget, Measure
from holdfast.core.target import Gradients
from holdfast.ops.losses import two_logits
from holdfast.ops.rows import batches


@method(cites="madry2018", where="eq. 2.1")
@dataclass(frozen=True)
class PGDTraining(TrainingDefence):
    r"""PGD adversarial training.

    min_theta E [ max_{|d| <= eps} L(f_theta(x + d), y) ]

    The inner maximum is approached by `steps` of projected gradient ascent from a random start,
    with the model in evaluation mode and its parameters frozen; the outer step is Adam's, with a
    cosine schedule. The radius grows over the first part of training, without which small
    networks may learn to answer one class only.
    """

    eps: float = hyper(0.2, "ours: for 8 x 8 digits; sec. 5 has 0.3 on MNIST", low=0)
    measure: str = hyper("linf", "sec. 5", choices=("linf", "l2"))
    steps: int = hyper(7, "sec. 5, CIFAR-10", low=1)
    step_size: float = hyper(2.5, "in units of eps / steps; MadryLab robustness package", low=0)
    epochs: int = hyper(30, "ours", low=1)
    rate: float = hyper(
        6e-3, "ours: Adam's first; best of 2e-3 to 1e-2 that is stable on digits", low=0
    )
    batch: int = hyper(64, "ours: 128 in the authors' code, for far more rows", low=1)
    ramp: float = hyper(0.3, "ours: part of the epochs over which eps grows", low=0, high=1)

    def train(
        self, module: nn.Module, recipe: TorchRecipe, data: Dataset, rng: Generator
    ) -> Iterator[Measurement]:
        target = cast(Gradients, recipe.wrap(module))
        x, y = data.tensor, data.y
        adam = torch.optim.Adam(module.parameters(), self.rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, self.epochs)
        for epoch in range(1, self.epochs + 1):
            eps = self.eps * min(1.0, epoch / max(1.0, self.ramp * self.epochs))
            losses, correct = x.new_zeros(()), 0
            order = torch.randperm(len(y), generator=rng, device=y.device)
            for rows in batches(order, self.batch):
                adv = self._worst(target, x[rows], y[rows], eps, rng)
                module.train()
                raw = two_logits(module(adv))
                loss = cross_entropy(raw, y[rows])
                adam.zero_grad()
                loss.backward()
                adam.step()
                losses = losses + loss.detach() * len(rows)
                correct += int((raw.argmax(1) == y[rows]).sum())
            schedule.step()
            module.eval()
            part = f"epoch={epoch}"
            yield Measurement("training loss", float(losses) / len(y), len(y), part=part)
            share = correct / len(y)
            yield Measurement("robust accuracy on training batch", share, len(y), part=part)

    def _worst(self, target: Gradients, x: Tensor, y: Tensor, eps: float, rng: Generator) -> Tensor:
        """The inner maximum: projected gradient ascent on the loss."""
        space, goal, budget = target.space, AwayFrom(y), Budget(cast(Measure, self.measure), eps)
        adv = space.random(x, budget, rng)
        for _ in range(self.steps):
            grad = target.gradient(adv, goal.loss).wrt_input
            step = self.step_size * eps / self.steps * space.steepest(grad, adv, budget)
            adv = space.project(adv + step, x, budget)
        return adv
