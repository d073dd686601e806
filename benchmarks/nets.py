"""The networks that the benchmarks attack, trained here on real data and kept in benchmarks/.cache.

    PYTHONPATH=. python benchmarks/nets.py [NAME ...] [--data DIR]

Six on MNIST (undefended, PGD, TRADES and L2 adversarial training, interval bounds, k-winners-take-
all), and one by PGD on Fashion-MNIST. Each trains in two to ten minutes on one core.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from holdfast.core.dataset import Dataset
from holdfast.data.idx import open_idx
from holdfast.ops import balls, bounds
from holdfast.targets.torch import TorchClassifier
from tests.planted import Winners

CACHE = Path(__file__).parent / ".cache"
DATA = Path(__file__).parents[2] / "shared" / "data"
Objective = Callable[[nn.Module, Tensor, Tensor, float, torch.Generator], Tensor]
"""(module, x, y, share of the training that is done, rng) -> loss."""


def small_cnn(activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Module:
    """Two convolutions and two linear layers, 166 thousand weights (Wong & Kolter 2018, "small")."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1), activation(), nn.Conv2d(16, 32, 4, 2, 1), activation(),
        nn.Flatten(), nn.Linear(32 * 49, 100), activation(), nn.Linear(100, 10),
    )  # fmt: skip


def plain(module: nn.Module, x: Tensor, y: Tensor, done: float, rng: torch.Generator) -> Tensor:
    """Cross-entropy on clean rows."""
    return cross_entropy(module(x), y)


def _ascend(
    loss: Callable[[Tensor], Tensor], x: Tensor, eps: float, norm: balls.Norm, steps: int,
    rng: torch.Generator,
) -> Tensor:  # fmt: skip
    """Projected gradient ascent from a random start."""
    adv = (x + balls.sample(x, norm, eps, rng)).clamp(0, 1)
    for _ in range(steps if eps > 0 else 0):
        adv.requires_grad_()
        (grad,) = torch.autograd.grad(loss(adv), adv)
        adv = adv.detach() + 2.5 / steps * eps * balls.steepest(grad, norm)
        adv = (x + balls.project(adv - x, norm, eps)).clamp(0, 1)
    return adv.detach()


def madry(eps: float, norm: balls.Norm = "linf", steps: int = 7) -> Objective:
    """Adversarial training (Madry et al. 2018); the radius grows over the first third."""

    def loss(module: nn.Module, x: Tensor, y: Tensor, done: float, rng: torch.Generator) -> Tensor:
        radius = eps * min(1.0, 3 * done)
        adv = _ascend(lambda v: cross_entropy(module(v), y), x, radius, norm, steps, rng)
        return cross_entropy(module(adv), y)

    return loss


def trades(eps: float, beta: float = 4.0, steps: int = 7) -> Objective:
    """Clean loss and the divergence within the ball (Zhang et al. 2019)."""

    def loss(module: nn.Module, x: Tensor, y: Tensor, done: float, rng: torch.Generator) -> Tensor:
        radius, clean = eps * min(1.0, 3 * done), softmax(module(x), 1)

        def apart(v: Tensor, of: Tensor) -> Tensor:
            return kl_div(log_softmax(module(v), 1), of, reduction="batchmean")

        adv = _ascend(lambda v: apart(v, clean.detach()), x, radius, "linf", steps, rng)
        return cross_entropy(module(x), y) + beta * apart(adv, clean)

    return loss


def intervals(eps: float) -> Objective:
    """Worst case by interval bounds (Gowal et al. 2018), mixed with the clean loss."""

    def loss(module: nn.Module, x: Tensor, y: Tensor, done: float, rng: torch.Generator) -> Tensor:
        radius = eps * min(1.0, max(0.0, 2 * done - 0.1))
        parts = bounds.layers(module)
        low, high = bounds.propagate(parts, (x - radius).clamp(0, 1), (x + radius).clamp(0, 1))
        own = nn.functional.one_hot(y, 10).bool()
        worst = torch.where(own, low, high)
        share = max(0.5, 1 - done)
        return share * cross_entropy(module(x), y) + (1 - share) * cross_entropy(worst, y)

    return loss


@dataclass(frozen=True)
class Net:
    """How one network is made, and the budgets at which it is attacked."""

    data: str
    objective: Objective
    epochs: int
    eps: dict[str, float]
    activation: Callable[[], nn.Module] = nn.ReLU


NETS = {
    "standard": Net("mnist", plain, 4, {"linf": 0.1, "l2": 1.0}),
    "pgd": Net("mnist", madry(0.3), 12, {"linf": 0.3, "l2": 1.5}),
    "trades": Net("mnist", trades(0.3), 10, {"linf": 0.3, "l2": 1.5}),
    "l2": Net("mnist", madry(2.0, "l2"), 8, {"linf": 0.15, "l2": 2.0}),
    "ibp": Net("mnist", intervals(0.3), 20, {"linf": 0.3, "l2": 1.5}),
    "kwta": Net("mnist", plain, 4, {"linf": 0.1, "l2": 1.0}, partial(Winners, 0.1)),
    "fashion": Net("fashion-mnist", madry(0.1), 8, {"linf": 0.1, "l2": 1.0}),
}


def held_out(name: str, n: int, data: Path = DATA) -> Dataset:
    """The first `n` test rows of a network's data set."""
    return open_idx(data / NETS[name].data, seed=0).test.first(n)


def load(name: str, data: Path = DATA) -> TorchClassifier:
    """A trained network, from the cache or trained now."""
    net, path = NETS[name], CACHE / f"{name}.safetensors"
    torch.manual_seed(0)
    module = small_cnn(net.activation)
    if path.is_file():
        safetensors.torch.load_model(module, path)
    else:
        _train(module, net, open_idx(data / net.data, seed=0).train)
        CACHE.mkdir(exist_ok=True)
        safetensors.torch.save_model(module, path)
    return TorchClassifier(module.eval().requires_grad_(False))


def _train(module: nn.Module, net: Net, data: Dataset) -> None:
    """Adam with a one-cycle rate; fixed seed."""
    rng, x, y, batch = torch.Generator().manual_seed(0), data.tensor, data.y, 128
    total = net.epochs * (len(y) // batch)
    adam = torch.optim.Adam(module.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, 3e-3, total)
    for epoch in range(net.epochs):
        order = torch.randperm(len(y), generator=rng)
        start = time.perf_counter()
        for i, rows in enumerate(order[: len(y) // batch * batch].split(batch)):
            done = (epoch * (len(y) // batch) + i) / total
            loss = net.objective(module, x[rows], y[rows], done, rng)
            adam.zero_grad()
            loss.backward()
            adam.step()
            schedule.step()
        print(f"epoch {epoch + 1}: loss {float(loss):.3f}, {time.perf_counter() - start:.0f} s",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(NETS))
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for each in arguments.names:
        rows = held_out(each, 10_000, arguments.data)
        right = (load(each, arguments.data).answer(rows.tensor) == rows.y).float().mean()
        print(f"{each}: clean accuracy {float(right):.4f} of {len(rows)}", flush=True)
