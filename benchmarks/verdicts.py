"""AutoAttack and the fast verdict on the same rows, beside the authors' AutoAttack where it is at hand.

    PYTHONPATH=. python benchmarks/verdicts.py [NET ...] [--norm linf] [--eps E] [--rows 1000]
        [--seed 0] [--reference DIR]

DIR is a checkout of the authors' code (github.com/fra31/auto-attack), which is not part of Holdfast.
Passes are counted by a wrapper around the network, outside of every attack: rows that go forward,
and rows whose gradient is taken. Prints one line per attack, and rows on which two of them differ.
"""

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.nets import DATA, NETS, held_out, load
from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.case import rate
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.auto_attack import AutoAttack
from holdfast.evasion.attacks.fast_verdict import FastVerdict
from holdfast.targets.torch import TorchClassifier


class Counted(nn.Module):
    """Counts rows that go forward, and rows that come back."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.forwards, self.backwards = module, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        out: Tensor = self.module(x)
        if out.requires_grad:
            out.register_hook(self._back)
        return out

    def _back(self, grad: Tensor) -> None:
        self.backwards += len(grad)


def authors(
    folder: Path, module: nn.Module, x: Tensor, y: Tensor, norm: str, eps: float, seed: int
) -> Tensor:
    """Which rows the authors' standard version breaks."""
    sys.path.insert(0, str(folder))
    from autoattack import AutoAttack as Published

    name = {"linf": "Linf", "l2": "L2", "l1": "L1"}[norm]
    run = Published(
        module, norm=name, eps=eps, version="standard", device="cpu", seed=seed, verbose=False
    )
    adversarial = run.run_standard_evaluation(x, y, bs=256)
    with torch.no_grad():
        return module(adversarial).argmax(1) != y


def compare(name: str, given: argparse.Namespace) -> None:
    """One network, all verdicts."""
    target, rows = load(name, given.data), held_out(name, given.rows, given.data)
    norm, seed = given.norm, given.seed
    eps = given.eps or NETS[name].eps[norm]
    right = target.answer(rows.tensor) == rows.y
    x, y = rows.tensor[right], rows.y[right]
    fallen: dict[str, Tensor] = {}
    for label, method in (("authors", None), ("exact", AutoAttack()), ("fast", FastVerdict())):
        counted = Counted(target.module)
        start = time.perf_counter()
        if method is not None:
            seen = TorchClassifier(counted)
            got = attack(method, seen, x, AwayFrom(y), Budget(norm, eps), Run(seed=seed))
            fallen[label] = got.success
        elif given.reference is not None:
            fallen[label] = authors(given.reference, counted, x, y, norm, eps, seed)
        else:
            continue
        seconds = time.perf_counter() - start
        standing = rate("", len(x) - int(fallen[label].sum()), len(rows))
        passes = (counted.forwards + counted.backwards) / len(x)
        print(f"| {name} | {norm} {eps:g} | {label}, seed {seed} | {standing.value:.4f} "
              f"[{standing.low:.3f}, {standing.high:.3f}] | {int(fallen[label].sum())} of {len(x)} | "
              f"{counted.forwards / len(x):.0f} + {counted.backwards / len(x):.0f} = {passes:.0f} | "
              f"{seconds:.0f} |", flush=True)  # fmt: skip
        if method is not None:
            won = Counter(s for s, hit in zip(got.stage, got.success, strict=True) if hit)
            print("  " + "; ".join(
                f"{part}: {won[part]} of {cost.rows}, {(cost.forwards + cost.backwards) / len(x):.0f}"
                for part, cost in got.spent.items()), flush=True)  # fmt: skip
    first = fallen.get("authors", fallen["exact"])
    for label, each in fallen.items():
        print(f"  {label}: {int((first & ~each).sum())} missed, {int((each & ~first).sum())} more")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("nets", nargs="*", default=list(NETS))
    parser.add_argument("--norm", default="linf")
    parser.add_argument("--eps", type=float, help="the network's own by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print("| net | eps | attack | robust accuracy | fell | passes per row | seconds |")
    print("|---|---|---|---|---|---|---|")
    for each_net in given.nets:
        compare(each_net, given)
