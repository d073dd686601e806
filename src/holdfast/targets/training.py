"""Recipes for PyTorch classifiers: one fresh model, or a whole bank of them at once."""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.functional import cross_entropy

from holdfast.core.dataset import Dataset
from holdfast.core.record import Measurement
from holdfast.core.space import Box
from holdfast.ops.losses import two_logits
from holdfast.ops.rows import batches
from holdfast.targets.torch import TorchClassifier


@dataclass(frozen=True, eq=False)
class ClassifierRecipe:
    """Adam with a cosine schedule on shuffled mini-batches.

    Attributes:
        factory: makes an untrained module.
        epochs: passes over the data.
        rate: Adam's first learning rate.
        batch: rows per step.
        space: what a valid input is.
    """

    factory: Callable[[], nn.Module]
    epochs: int = 20
    rate: float = 2e-3
    batch: int = 64
    space: Box = field(default_factory=Box)

    @property
    def digest(self) -> str:
        """sha256 of the architecture and of the training settings."""
        shapes = [(name, tuple(value.shape)) for name, value in self.build(0).state_dict().items()]
        told = repr((self.build(0), shapes, self.epochs, self.rate, self.batch))
        return hashlib.sha256(told.encode()).hexdigest()

    def build(self, seed: int) -> nn.Module:
        """An untrained module whose initial weights depend on `seed` alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.factory()

    def wrap(self, module: nn.Module) -> TorchClassifier:
        """The module as a target."""
        return TorchClassifier(module, self.space)

    def train(self, data: Dataset, seed: int) -> TorchClassifier:
        """A fresh model, trained on `data` and on its device."""
        module = self.build(seed).to(data.tensor.device)
        for _ in self.fit(module, data, seed):
            pass
        return self.wrap(module)

    def fit(self, module: nn.Module, data: Dataset, seed: int) -> Iterator[Measurement]:
        """Train in place, yielding the mean loss of every epoch."""
        yield from fit(module, data, self, seed)

    def bank(self, data: Dataset, member: Tensor, queries: Tensor, seed: int) -> Tensor:
        """Scores (M, N', K) on `queries` of M models, model m trained on the rows where member[m].

        All models take their steps together under `torch.func.vmap`. Each sees its own rows in its
        own order. Smaller sets are padded with rows of no weight, spread over all batches, so that
        the steps line up and every member is trained on. Models with running statistics, dropout
        or recurrent layers cannot be stacked and are trained one by one.
        """
        device = data.tensor.device
        modules = [self.build(seed + m).to(device) for m in range(len(member))]
        alone = nn.modules.batchnorm._NormBase | nn.modules.dropout._DropoutNd | nn.RNNBase
        if any(isinstance(m, alone) for m in modules[0].modules()):
            picks = [data.take(row.nonzero().flatten().cpu()) for row in member]
            return torch.stack(
                [self.train(part, seed + m).scores(queries) for m, part in enumerate(picks)]
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # dropout that is no layer draws from the global stream
            return _bank(self, modules, data, member.to(device), queries, seed)


def fit(
    module: nn.Module, data: Dataset, recipe: ClassifierRecipe, seed: int
) -> Iterator[Measurement]:
    """Ordinary training; the module ends in evaluation mode."""
    rng = torch.Generator().manual_seed(seed)
    device = next(module.parameters()).device
    x, y = data.tensor.to(device), data.y.to(device)
    optimiser = torch.optim.Adam(module.parameters(), recipe.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.epochs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # dropout layers draw from the global stream
        for epoch in range(recipe.epochs):
            module.train()
            total = 0.0
            for rows in batches(torch.randperm(len(y), generator=rng), recipe.batch):
                loss = cross_entropy(two_logits(module(x[rows])), y[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                total += float(loss.detach()) * len(rows)
            schedule.step()
            module.eval()
            yield Measurement(
                "training loss", total / max(1, len(y)), len(y), part=f"epoch={epoch + 1}"
            )


def _bank(
    recipe: ClassifierRecipe,
    modules: list[nn.Module],
    data: Dataset,
    member: Tensor,
    queries: Tensor,
    seed: int,
) -> Tensor:
    """Train all modules in step with Adam written out on stacked parameters."""
    params, buffers = stack_module_state(modules)
    base = modules[0].to("meta")
    counts = member.sum(1)
    size = int(counts.max())
    rng = torch.Generator().manual_seed(seed)
    own = member.int().argsort(dim=1, descending=True, stable=True)[:, :size]
    # padding counts nothing
    weight = (torch.arange(size, device=counts.device) < counts.view(-1, 1)).float()
    x, y = data.tensor, data.y

    def loss(
        p: dict[str, Tensor], b: dict[str, Tensor], rows_x: Tensor, rows_y: Tensor, counted: Tensor
    ) -> Tensor:
        scores = two_logits(functional_call(base, (p, b), (rows_x,)))
        losses = cross_entropy(scores, rows_y, reduction="none")
        return (losses * counted).sum() / counted.sum().clamp(min=1)

    step = vmap(grad(loss), randomness="different")
    first = {k: torch.zeros_like(v) for k, v in params.items()}
    second = {k: torch.zeros_like(v) for k, v in params.items()}
    count = 0
    for epoch in range(recipe.epochs):
        rate = recipe.rate * (1 + math.cos(math.pi * epoch / recipe.epochs)) / 2
        order = torch.stack([torch.randperm(size, generator=rng) for _ in modules])
        for columns in order.split(recipe.batch, dim=1):
            columns = columns.to(own.device)
            rows = own.gather(1, columns)
            grads = step(params, buffers, x[rows], y[rows], weight.gather(1, columns))
            count += 1
            with torch.no_grad():
                for k, g in grads.items():  # Adam: Kingma & Ba 2015, algorithm 1
                    first[k].lerp_(g, 0.1)
                    second[k].mul_(0.999).addcmul_(g, g, value=0.001)
                    moved = (
                        first[k]
                        / (1 - 0.9**count)
                        / ((second[k] / (1 - 0.999**count)).sqrt() + 1e-8)
                    )
                    params[k] = params[k] - rate * moved
    base.eval()
    with torch.no_grad():
        ask = vmap(
            lambda p, b, q: two_logits(functional_call(base, (p, b), (q,))), in_dims=(0, 0, None)
        )
        return torch.cat([ask(params, buffers, part) for part in queries.split(512)], 1)
