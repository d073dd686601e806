"""What the engine costs: PGD through Holdfast against nothing but the passes that it is made of.

The attack gets so small a budget that no row ever falls, so every step works on all rows. Beside it
runs a bare loop of as many forward and backward passes of the same network on the same rows, with
frozen parameters: no attack can be faster. The two take turns, and what counts is the median of the
ratios of neighbours, so that whatever else the machine does hits both alike. The limit holds for the
networks with convolutions; a pass through the small table network is shorter than the bookkeeping.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.pgd import PGD
from holdfast.targets.torch import TorchClassifier

TINY = 1e-7


class Residual(nn.Module):
    """Two convolutions with batch normalisation and a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.body(x)).relu()


def networks() -> dict[str, tuple[nn.Module, tuple[int, ...], int, int]]:
    """Name: network, shape of a row, rows of a batch, steps."""
    digits = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip
    mnist = nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64 * 49, 1024), nn.ReLU(),
        nn.Linear(1024, 10),
    )  # fmt: skip
    cifar = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), Residual(32), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), Residual(64), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(64, 10),
    )  # fmt: skip
    table = nn.Sequential(
        nn.Linear(50, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)
    )
    return {
        "digits CNN, 1x8x8": (digits, (1, 8, 8), 256, 40),
        "MNIST CNN, 1x28x28": (mnist, (1, 28, 28), 64, 40),
        "residual net, 3x32x32": (cifar, (3, 32, 32), 32, 40),
        "table MLP, 50 columns": (table, (50,), 1024, 40),
    }


def bare(module: nn.Module, x: Tensor, y: Tensor, steps: int) -> None:
    """Forward and input-backward passes, and nothing else."""
    for _ in range(steps):
        at = x.detach().requires_grad_()
        torch.autograd.grad(cross_entropy(module(at), y, reduction="sum"), at)


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    work()
    return clock() - start


def measure(
    name: str, repeats: int, norm: str, clock: Callable[[], float]
) -> tuple[list[float], float, float]:
    """Quartiles of the ratio of attack to bare passes, that of the fastest runs, and passes a second."""
    module, shape, rows, steps = networks()[name]
    module = module.eval().requires_grad_(False)
    rng = torch.Generator().manual_seed(0)
    x = 0.1 + 0.8 * torch.rand(rows, *shape, generator=rng)
    target = TorchClassifier(module)
    y = target.answer(x)
    method, goal, budget = PGD(steps=steps), AwayFrom(y), Budget(norm, TINY)
    run = Run(batch_size=rows)

    def ours() -> None:
        got = attack(method, target, x, goal, budget, run)
        if got.success.any() or got.backwards != rows * steps:
            raise RuntimeError(f"{name}: rows left, so the two do not do the same work")

    def theirs() -> None:
        bare(module, x, y, steps)

    for work in (ours, theirs):
        work()
    ratios, times, floor = [], [], []
    for i in range(repeats):
        pair = [ours, theirs] if i % 2 == 0 else [theirs, ours]
        took = {work: seconds(work, clock) for work in pair}
        ratios.append(took[ours] / took[theirs])
        times.append(took[ours])
        floor.append(took[theirs])
    speed = rows * steps / statistics.median(times)
    return statistics.quantiles(ratios, n=4), min(times) / min(floor), speed


def main() -> int:
    """Print one line per network; 1 when a median is above the limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--measure", choices=("linf", "l2"), default="linf")
    # processor time leaves out what other processes do, but with several threads counts waiting
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall")
    parser.add_argument("--limit", type=float, default=0.10, help="largest overhead that passes")
    parser.add_argument("--only", default="", help="networks whose name contains this")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(
        f"{given.threads} threads, {given.repeats} pairs, {given.measure}, torch {torch.__version__}"
    )
    print(f"{'network':24}{'overhead':>10}{'quartiles':>20}{'fastest':>10}{'gradients/s':>14}")
    worst = 0.0
    for name in networks():
        if given.only not in name:
            continue
        clock = CLOCKS[given.clock]
        (low, middle, high), best, speed = measure(name, given.repeats, given.measure, clock)
        print(
            f"{name:24}{middle - 1:10.1%}{low - 1:10.1%}{high - 1:10.1%}{best - 1:10.1%}{speed:14,.0f}",
            flush=True,
        )
        if "CNN" in name or "net" in name:
            worst = max(worst, middle - 1)
    return int(worst > given.limit)


if __name__ == "__main__":
    sys.exit(main())
