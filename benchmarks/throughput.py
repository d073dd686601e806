"""How many rows a second do attacks finish, ours beside those of other libraries?

    PYTHONPATH=. python benchmarks/throughput.py [--only TASK ...] [--repeats 5] [--scale 1.0]

Each task gives the same rows of the same network to every library, with the same steps, on one
thread. The libraries take turns, and what counts is the median of the ratios of neighbouring runs,
with its quartiles, so that whatever else the machine does hits all alike. Beside the time stand the
share of rows that reached the goal and the median size of their change, judged alike: a fast attack
that finds less, or farther away, has not won.

The network is as its user has it: its weights can be trained, which some libraries pay for. Exit
code 1 where a bar is missed.
"""

import argparse
import statistics
import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import peers
from benchmarks.nets import DATA, held_out, load
from benchmarks.peers import RATE, Task
from holdfast.core.goal import AwayFrom, ToClass
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.boundary import Boundary
from holdfast.evasion.attacks.carlini_wagner import CarliniWagner
from holdfast.evasion.attacks.deepfool import DeepFool
from holdfast.evasion.attacks.hop_skip_jump import HopSkipJump
from holdfast.evasion.attacks.jsma import JSMA
from holdfast.evasion.attacks.newtonfool import NewtonFool
from holdfast.evasion.attacks.pgd import PGD
from holdfast.evasion.attacks.simba import SimBA
from holdfast.evasion.attacks.square import Square
from holdfast.evasion.attacks.zoo import ZOO
from holdfast.ops import balls
from holdfast.targets.torch import TorchClassifier

INF = torch.inf
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
"""The time of the processor leaves out what else the machine does; it is for one thread."""


@dataclass(frozen=True)
class Compared:
    """One comparison.

    Attributes:
        method: ours.
        peer: the peers' name of the task.
        net: the network.
        norm: what distances are measured in.
        rows: how many rows.
        given: settings that all share; `eps` is the budget, none where the least change is sought.
        bars: least ratio of our speed to each library's, "" for any other.
        towards: whether the goal is the class after the label's.
    """

    method: Any
    peer: str
    net: str
    norm: balls.Norm
    rows: int
    given: dict[str, float]
    bars: dict[str, float] = field(default_factory=lambda: {"": 2.0})
    towards: bool = False


TASKS = {
    "PGD-40, robust": Compared(
        PGD(steps=40), "pgd", "pgd", "linf", 200, {"steps": 40, "eps": 0.3},
        {"foolbox": 1.4, "ART": 1.4, "": 1.0},
    ),
    "PGD-40, undefended": Compared(
        PGD(steps=40), "pgd", "standard", "linf", 200, {"steps": 40, "eps": 0.3}, {"": 3.0}
    ),
    "DeepFool": Compared(DeepFool(steps=50), "deepfool", "standard", "l2", 100, {"steps": 50}),
    "Carlini-Wagner": Compared(
        CarliniWagner(steps=100, search_steps=9, step_size=RATE), "carlini-wagner", "standard", "l2",
        20, {"steps": 100, "searches": 9},
    ),
    "NewtonFool": Compared(
        NewtonFool(steps=100), "newtonfool", "standard", "l2", 50, {"steps": 100}
    ),
    "JSMA": Compared(
        JSMA(gamma=0.145), "jsma", "standard", "l0", 20,
        {"steps": 0, "gamma": 0.145}, towards=True,
    ),
    "Square": Compared(
        Square(steps=500), "square", "standard", "linf", 50, {"steps": 500, "eps": 0.1}
    ),
    "SimBA": Compared(
        SimBA(steps=784, step_size=0.2), "simba", "standard", "l2", 10, {"steps": 784}
    ),
    "ZOO": Compared(
        ZOO(steps=100, searches=1, first_const=10.0), "zoo", "standard", "l2", 5,
        {"steps": 100, "const": 10.0},
    ),
    "boundary attack": Compared(
        Boundary(steps=1000), "boundary", "standard", "l2", 10, {"steps": 1000}
    ),
    "HopSkipJump": Compared(
        HopSkipJump(iterations=10, max_queries=1000), "hop-skip-jump", "standard", "l2", 10,
        {"steps": 10, "most": 1000},
    ),
}  # fmt: skip


def ours(task: Compared) -> Task:
    """Our attack as a task; a budget is only given where the peers have one."""

    def run(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        goal = ToClass(y) if task.towards else AwayFrom(y)
        budget = Budget(task.norm, task.given.get("eps", INF))
        return attack(task.method, TorchClassifier(net), x, goal, budget, Run(batch_size=len(x))).x

    return run


def quality(
    task: Compared, net: nn.Module, adv: Tensor, x: Tensor, y: Tensor
) -> tuple[float, float]:
    """Share of rows that reached the goal, and the median size of their change."""
    with torch.no_grad():
        told = net(adv.detach()).argmax(1)
    won = (told == y) if task.towards else (told != y)
    won &= ((adv >= -1e-6) & (adv <= 1 + 1e-6)).flatten(1).all(1)
    change = (adv - x).masked_fill((adv - x).abs() <= 1e-6, 0)
    size = balls.size(change, task.norm)[won]
    return float(won.float().mean()), float(size.median()) if len(size) else INF


def compare(name: str, task: Compared, given: argparse.Namespace) -> bool:
    """Time all libraries in turns and print a table; whether the bars are kept."""
    rows, clock = max(2, int(task.rows * given.scale)), CLOCKS[given.clock]
    net = load(task.net, given.data).module.requires_grad_(True)
    pool = held_out(task.net, 2 * rows + 20, given.data)
    with torch.no_grad():
        right = net(pool.tensor).argmax(1) == pool.y
    x, y = pool.tensor[right][:rows], pool.y[right][:rows]
    y = (y + 1) % 10 if task.towards else y
    there = peers.timed(task.peer, **task.given)
    chosen = [library for library in there if not given.libraries or library in given.libraries]
    works: dict[str, Task] = {"Holdfast": ours(task)} | {name: there[name] for name in chosen}
    found, broken = {}, {}
    for library, work in works.items():  # not timed: first calls load and compile
        try:
            torch.manual_seed(0)
            found[library] = quality(task, net, work(net, x.clone(), y.clone()), x, y)
        except Exception as error:  # a library that breaks is out of the race
            broken[library] = f"{type(error).__name__}: {error}"
    for library, reason in broken.items():
        del works[library]
        print(f"{name}, {library} fails: {reason[:200]}", file=sys.stderr)
    times: dict[str, list[float]] = {library: [] for library in works}
    for turn in range(given.repeats):
        order = list(works) if turn % 2 == 0 else list(works)[::-1]
        for library in order:
            torch.manual_seed(turn)
            start = clock()
            works[library](net, x.clone(), y.clone())
            times[library].append(clock() - start)
    print(f"\n### {name}: {len(x)} rows, net {task.net}, {task.norm}, {given.repeats} turns\n")
    print("| library | rows/s | ours is faster by (quartiles) | bar | success | median size |")
    print("|---|---|---|---|---|---|")
    fine = True
    for library, each in times.items():
        speed = len(x) / statistics.median(each)
        ratio, bar = ["", ""]
        if library != "Holdfast":
            ratios = [a / b for a, b in zip(each, times["Holdfast"], strict=True)]
            low, middle, high = quartiles(ratios)
            ratio, least = f"{middle:.2f} ({low:.2f} to {high:.2f})", limit(task, library)
            # who finds less than we do is no measure of how fast one can find as much
            kept = middle >= least or found[library][0] < found["Holdfast"][0] - 0.05
            bar = f"{least:g} {'kept' if kept else 'missed'}"
            fine &= kept
        success, size = found[library]
        print(f"| {library} | {speed:.1f} | {ratio} | {bar} | {success:.0%} | {size:.4g} |")
    sys.stdout.flush()
    return fine


def limit(task: Compared, library: str) -> float:
    """The least ratio that is asked for."""
    return task.bars.get(library, task.bars[""])


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(values) < 2:
        return (values[0],) * 3
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def main() -> int:
    """Run the tasks; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--only", nargs="*", default=[], help="tasks whose name contains one of them"
    )
    parser.add_argument("--libraries", nargs="*", default=[], help="peers that take part; all")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of rows")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall")
    parser.add_argument("--data", type=Path, default=DATA)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    warnings.simplefilter("ignore")
    fine = True
    for name, task in TASKS.items():
        if not given.only or any(text in name for text in given.only):
            fine &= compare(name, task, given)
    return int(not fine)


if __name__ == "__main__":
    raise SystemExit(main())
