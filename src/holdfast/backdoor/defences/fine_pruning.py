"""Fine-pruning (Liu, Dolan-Gavitt and Garg 2018)."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import Repair
from holdfast.core.method import hyper, method
from holdfast.core.recipe import TorchRecipe
from holdfast.ops.finetune import finetune

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@method(cites="liu2018", where="pruning defence and fine-pruning defence")
@dataclass(frozen=True)
class FinePruning(Repair):
    """Fine-pruning.

    Channels of the last convolution are silenced in ascending order of their mean activation on
    clean rows, until accuracy on other clean rows is more than `drop` below where it began; the
    last net before that is kept. It is then fine-tuned on all clean rows, the silenced channels
    staying silent.
    """

    drop: float = hyper(0.04, "the paper stops at a fall of about 4 points", low=0, high=1)
    held: float = hyper(0.5, "ours: share of clean rows that only judge", low=0.05, high=0.95)
    epochs: int = hyper(30, "ours: some hundred steps on a few dozen rows", low=0)
    rate: float = hyper(0.005, "ours: lower ones left the trigger in", low=0)

    def repair(
        self, module: nn.Module, recipe: TorchRecipe, clean: Dataset, rng: Generator
    ) -> Iterator[nn.Module]:
        order = torch.randperm(len(clean), generator=rng, device=rng.device).cpu()
        split = max(1, round(self.held * len(clean)))
        judge, rank = clean.take(order[:split]), clean.take(order[split:])
        if not len(rank):
            raise NotApplicable("needs at least two clean rows")

        def accuracy(net: nn.Module) -> float:
            right = recipe.wrap(net).answer(judge.tensor) == judge.y
            return float(right.double().mean())

        good = deepcopy(module)
        where, activity = activations(good, recipe, rank.tensor)
        floor = accuracy(good) - self.drop - 1e-9
        silenced: list[int] = []
        for channel in activity.argsort()[:-1].tolist():
            trial = deepcopy(good)
            silence(trial.get_submodule(where), channel)
            if accuracy(trial) < floor:
                break
            good = trial
            silenced.append(channel)
        yield deepcopy(good)
        gone = torch.tensor(silenced, dtype=torch.long, device=activity.device)
        handles = [  # a silent channel has no gradient behind a ReLU, but behind others it does
            p.register_hook(lambda grad: grad.index_fill(0, gone, 0))
            for p in good.get_submodule(where).parameters()
        ]
        finetune(good, clean.tensor, clean.y, self.epochs, self.rate, rng)
        for handle in handles:
            handle.remove()
        yield good


def activations(module: nn.Module, recipe: TorchRecipe, x: Tensor) -> tuple[str, Tensor]:
    """Name of the convolution that is called last, and the mean activation (C,) of its channels.

    The activation is read after the normalisation and the non-linearity that follow the
    convolution, as long as they are modules, and rectified where they are not.
    """
    name, seen = "", torch.zeros(0)

    def watch(layer_name: str, layer: nn.Module, out: object) -> None:
        nonlocal name, seen
        if isinstance(layer, CONVOLUTIONS) and isinstance(out, Tensor):
            name, seen = layer_name, out
        elif isinstance(out, Tensor) and name and out.shape == seen.shape:
            seen = out

    leaves = [(n, m) for n, m in module.named_modules() if not any(True for _ in m.children())]
    handles = [
        m.register_forward_hook(lambda layer, _, out, n=n: watch(n, layer, out)) for n, m in leaves
    ]
    try:
        recipe.wrap(module).scores(x)
    finally:
        for handle in handles:
            handle.remove()
    if not name:
        raise NotApplicable("needs a convolution whose channels can be pruned")
    return name, seen.clamp(min=0).transpose(0, 1).flatten(1).mean(1)


def silence(convolution: nn.Module, channel: int) -> None:
    """Make a channel give nothing, in place."""
    with torch.no_grad():
        for parameter in convolution.parameters():
            parameter[channel] = 0
