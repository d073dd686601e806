"""Black-box attacks on a network trained on MNIST: is every query counted, and how near do they come?

    PYTHONPATH=. python benchmarks/black_box.py [--rows 100] [--queries 1000 5000] [--only NAME ...]

First, every attack of the catalogue that sees answers or scores alone is run, and the ledger is
compared with a count made outside of it. Then the decision-based ones are run with each allowance;
printed is the median L2 distance of the rows, where a row without an adversarial input counts as
infinitely far. Beside them stand changes that know nothing of the model, raised until its answer
changes.

Attacks of other libraries are run where those can be imported. Each row is attacked alone, through a
network that watches: it counts, keeps the nearest misread point that was ever asked about, and ends
the attack at its allowance. That is kinder than what is asked of our own
attacks, of which only points that they gave back count, as judged by a fresh pass. Ours are given
the rows as one batch, and may start from another row that was answered as wanted.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.nets import DATA, held_out, load
from holdfast import catalogue
from holdfast.core.errors import NotApplicable
from holdfast.core.goal import AwayFrom
from holdfast.core.method import REGISTRY
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.boundary import Boundary
from holdfast.evasion.attacks.geoda import GeoDA
from holdfast.evasion.attacks.hop_skip_jump import HopSkipJump
from holdfast.evasion.attacks.opt_attack import OPTAttack
from holdfast.evasion.attacks.qeba import QEBA
from holdfast.evasion.attacks.sign_opt import SignOPT
from holdfast.evasion.attacks.surfree import SurFree
from holdfast.ops.baselines import BASELINES, raised
from tests.black_box import Counter

DECISIONS = {
    "HopSkipJump": HopSkipJump(),
    "GeoDA": GeoDA(),
    "QEBA, resize": QEBA(),
    "QEBA, frequency": QEBA(subspace="frequency"),
    "SurFree": SurFree(steps=10_000),
    "Sign-OPT": SignOPT(),
    "OPT attack": OPTAttack(),
    "boundary attack": Boundary(),
}
BARS = {"foolbox HopSkipJump": "HopSkipJump", "ART GeoDA": "GeoDA", "ART Sign-OPT": "Sign-OPT"}
"""What our attack of the same name must reach, at each allowance."""


def count_all(target: Counter, x: Tensor, y: Tensor, queries: int) -> bool:
    """Whether ledger and counter agree for every black-box attack of the catalogue."""
    catalogue.load_all()
    agree = True
    print("| attack | rows in the ledger | rows counted outside |\n|---|---|---|")
    for id_, entry in sorted(REGISTRY.items()):
        if entry.kind != "EvasionAttack" or entry.needs not in ("Answers", "Scores"):
            continue
        if entry.items != "Tensor":
            continue
        method: Any = entry.cls()
        measure = "l2" if "l2" in method.measures else method.measures[0]
        eps = torch.inf if method.minimises else {"l0": 10.0, "l2": 1.0}.get(measure, 0.1)
        target.rows = 0
        try:
            got = attack(method, target, x, AwayFrom(y), Budget(measure, eps), Run(queries=queries))
        except NotApplicable as reason:
            print(f"| {id_} | not run: {reason} | |")
            continue
        outside = target.rows - len(x)  # the engine judges its result by one pass more
        agree &= outside == got.forwards and not got.backwards
        print(f"| {id_} | {got.forwards} | {outside} |", flush=True)
    return agree


def ours(target: Counter, x: Tensor, y: Tensor, method: Any, queries: int) -> Tensor:
    """(N,) distances that one of our attacks reaches, infinite where it fails."""
    target.rows = 0
    got = attack(method, target, x, AwayFrom(y), Budget("l2", torch.inf), Run(queries=queries))
    if target.rows - len(x) != got.forwards or got.forwards > queries * len(x):
        raise SystemExit(f"{method}: ledger {got.forwards}, counter {target.rows - len(x)}")
    return got.distance.masked_fill(~got.success, torch.inf)


def baseline(target: Counter, x: Tensor, y: Tensor, name: str) -> Tensor:
    """(N,) distances of a change that knows nothing of the model."""
    pattern = torch.rand(x.shape, generator=torch.Generator().manual_seed(0))
    best, found = raised(
        BASELINES[name], lambda points, rows: target.answer(points) != y[rows], x, pattern
    )
    return (best - x).flatten(1).norm(dim=1).masked_fill(~found, torch.inf)


class Spent(Exception):
    """The allowance is used up."""


class Watched(nn.Module):
    """A network that keeps the nearest misread point it was asked about within an allowance."""

    def __init__(self, module: nn.Module, limit: int) -> None:
        super().__init__()
        self.module, self.limit = module, limit
        self.clean, self.label, self.asked, self.best = torch.zeros(0), 0, 0, torch.inf

    def watch(self, clean: Tensor, label: int) -> None:
        """Start anew with another row."""
        self.clean, self.label, self.asked, self.best = clean, label, 0, torch.inf

    def forward(self, points: Tensor) -> Tensor:
        with torch.no_grad():
            scores: Tensor = self.module(points.float())
        allowed = points[: self.limit - self.asked]
        far = (allowed - self.clean).flatten(1).norm(dim=1)
        valid = ((allowed >= 0) & (allowed <= 1)).flatten(1).all(1)
        won = far[(scores[: len(allowed)].argmax(1) != self.label) & valid]
        self.best = min([self.best, *won.tolist()])
        self.asked += len(points)
        if self.asked >= self.limit:
            raise Spent
        return scores


Peer = Callable[[Watched, Tensor, Tensor], None]
"""Attacks one row (1, C, H, W) with its label (1,)."""


def peers(limit: int) -> dict[str, Peer]:
    """Attacks of other libraries that can be imported here."""
    found: dict[str, Peer] = {}
    for library in (_foolbox, lambda: _art(limit)):
        try:
            found |= library()
        except ImportError as missing:
            print(f"left out: {missing}", file=sys.stderr)
    return found


def _foolbox() -> dict[str, Peer]:
    import foolbox

    def by(method: Any) -> Peer:
        def run(net: Watched, x: Tensor, y: Tensor) -> None:
            method(foolbox.PyTorchModel(net, bounds=(0, 1)), x, y, epsilons=None)

        return run

    return {
        "foolbox HopSkipJump": by(foolbox.attacks.HopSkipJumpAttack()),
        "foolbox boundary attack": by(foolbox.attacks.BoundaryAttack()),
    }


def _art(limit: int) -> dict[str, Peer]:
    import numpy as np
    from art.attacks import evasion
    from art.estimators.classification import PyTorchClassifier

    vars(np).setdefault("mat", np.asmatrix)  # its GeoDA needs what NumPy 2 dropped

    def by(make: Callable[[Any], Any]) -> Peer:
        def run(net: Watched, x: Tensor, y: Tensor) -> None:
            model = PyTorchClassifier(
                net, nn.CrossEntropyLoss(), tuple(x.shape[1:]), 10, clip_values=(0, 1),
                device_type="cpu",
            )  # fmt: skip
            make(model).generate(x.numpy(), y.numpy())

        return run

    return {
        "ART HopSkipJump": by(lambda model: evasion.HopSkipJump(model, max_iter=64, verbose=False)),
        "ART GeoDA": by(lambda model: evasion.GeoDA(model, max_iter=limit, verbose=False)),
        "ART Sign-OPT": by(
            lambda model: evasion.SignOPTAttack(
                model, targeted=False, query_limit=limit, eval_perform=False, verbose=False
            )
        ),
    }


def theirs(module: nn.Module, x: Tensor, y: Tensor, run: Peer, limit: int) -> Tensor:
    """(N,) distances that an attack of another library reaches."""
    net, best = Watched(module, limit).eval(), []
    for row in range(len(x)):
        net.watch(x[row : row + 1], int(y[row]))
        torch.manual_seed(row)
        try:
            run(net, x[row : row + 1], y[row : row + 1])
        except Spent:
            pass
        except Exception as error:  # a row on which a library breaks counts as it stood then
            print(f"row {row}: {type(error).__name__}: {error}", file=sys.stderr)
        best.append(net.best)
    return torch.tensor(best)


def line(name: str, parts: list[Tensor], seconds: float) -> list[float]:
    """Print one line of the table; the medians."""
    medians = [float(part.median()) for part in parts]
    shown = " | ".join(f"{value:.3f}" for value in medians)
    rate = float(parts[-1].isfinite().float().mean())
    print(f"| {name} | {shown} | {rate:.0%} | {seconds:.0f} s |", flush=True)
    return medians


def main() -> int:
    """Run what the command line asks for; 1 where a bar is missed or a count is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--queries", type=int, nargs="+", default=[1000, 5000])
    parser.add_argument("--net", default="standard")
    parser.add_argument("--data", default=str(DATA))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="names of lines of the table")
    parser.add_argument("--no-count", action="store_true", help="leave out the ledger's table")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    target, rows = load(given.net, Path(given.data)), held_out(given.net, 2 * given.rows)
    right = target.answer(rows.tensor) == rows.y
    x, y = rows.tensor[right][: given.rows], rows.y[right][: given.rows]
    counter, limits = Counter(target.module), sorted(given.queries)
    fine = given.no_count or count_all(counter, x[:10], y[:10], min(500, *limits))

    def wanted(name: str) -> bool:
        return not given.only or name in given.only

    print(f"\n{len(x)} rows of {rows.name}, network {given.net}; median L2\n")
    heads = " | ".join(f"{limit} queries" for limit in limits)
    print(f"| attack | {heads} | rows misread | time |\n|---|{'---|' * (len(limits) + 2)}")
    medians: dict[str, list[float]] = {}
    for name in filter(wanted, BASELINES):
        start = time.perf_counter()
        parts = [baseline(counter, x, y, name)] * len(limits)
        line(f"{name} (at most 110 queries)", parts, time.perf_counter() - start)
    for name in filter(wanted, DECISIONS):
        start = time.perf_counter()
        parts = [ours(counter, x, y, DECISIONS[name], limit) for limit in limits]
        medians[name] = line(name, parts, time.perf_counter() - start)
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # one of the libraries leaves files where it runs
        try:
            each = [peers(limit) for limit in limits]
            for name in each[0]:
                if wanted(name):
                    start = time.perf_counter()
                    parts = [
                        theirs(target.module, x, y, runs[name], limit)
                        for runs, limit in zip(each, limits, strict=True)
                    ]
                    medians[name] = line(name, parts, time.perf_counter() - start)
        finally:
            os.chdir(here)
    for theirs_, ours_ in BARS.items():
        for i, limit in enumerate(limits):
            if theirs_ in medians and ours_ in medians and medians[theirs_][i] < torch.inf:
                mine, other = medians[ours_][i], medians[theirs_][i]
                fine &= mine <= other
                word = "kept" if mine <= other else "missed"
                print(f"{word}: {ours_} {mine:.3f}, {theirs_} {other:.3f} after {limit} queries")
    return 0 if fine else 1


if __name__ == "__main__":
    raise SystemExit(main())
