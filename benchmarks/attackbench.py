"""How near the least change do minimum-norm attacks come, at equal numbers of passes?

    PYTHONPATH=. python benchmarks/attackbench.py [--nets pgd ...] [--norms l2 ...] [--rows 50]
        [--budgets 400 2000] [--only TEXT ...] [--again TEXT ...] [--table]

The protocol is AttackBench's (Cina et al. 2025): every attack may pass each row so often through the
network, forward and backward counted alike by a counter outside of it, and what it gives back is
judged by a fresh pass: its distance if it is misread and in the box, else infinitely far. Attacks
get settings that fit the allowance; what they used is in the table. An attack that only knows
budgets bisects them row by row, ten rounds with a tenth of the passes each; ours goes on with what
rows that fall early have left of it.

Local optimality is 1 - (A - A*) / (m - A*), where A is the area under the attack's curve of robust
accuracy against distance, up to the largest distance m of the best, and A* that of the best: row by
row the least distance that any attack of the pool found on that net at any allowance. Global
optimality is its mean over nets. Only rows that the net reads right are attacked.

Results are kept in benchmarks/.cache/attackbench, a file for each net, norm, allowance and attack, so
that an interrupted run goes on where it was; `--again` runs those anew whose names contain a text.
"""

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import peers
from benchmarks.nets import CACHE, DATA, held_out, load
from benchmarks.peers import FIRST, RATE, ROUNDS, Attack, searches
from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.evasion import attack
from holdfast.engine.minimal import smallest
from holdfast.evasion.attacks.alma import ALMA
from holdfast.evasion.attacks.auto_pgd import AutoPGD
from holdfast.evasion.attacks.brendel_bethge import BrendelBethge
from holdfast.evasion.attacks.carlini_wagner import CarliniWagner
from holdfast.evasion.attacks.ddn import DDN
from holdfast.evasion.attacks.deepfool import DeepFool
from holdfast.evasion.attacks.elastic_net import ElasticNet
from holdfast.evasion.attacks.fab import FAB
from holdfast.evasion.attacks.fmn import FMN
from holdfast.evasion.attacks.pdpgd import PDPGD
from holdfast.evasion.attacks.sigma_zero import SigmaZero
from holdfast.evasion.attacks.trust_region import TrustRegion
from holdfast.ops import balls
from holdfast.targets.torch import TorchClassifier

RESULTS = CACHE / "attackbench"
ROUNDING = 1e-6
"""Features that moved by no more than this do not count as changed, nor as outside of the box."""


@dataclass
class Counter:
    """Rows that went forward and backward through a module."""

    forwards: int = 0
    backwards: int = 0


@contextmanager
def counted(net: nn.Module) -> Iterator[Counter]:
    """Count what passes through `net`, whoever sends it."""
    count = Counter()

    def back(grad: Tensor) -> None:
        count.backwards += len(grad)

    def forth(_: nn.Module, __: Any, out: Tensor) -> None:
        count.forwards += len(out)
        if out.requires_grad:
            out.register_hook(back)

    handle = net.register_forward_hook(forth)
    try:
        yield count
    finally:
        handle.remove()


def distances(net: nn.Module, adv: Tensor, x: Tensor, y: Tensor, norm: balls.Norm) -> Tensor:
    """(N,) norm of the change where the row is misread and in the box, else infinite."""
    valid = adv.isfinite().flatten(1).all(1)
    valid &= ((adv >= -ROUNDING) & (adv <= 1 + ROUNDING)).flatten(1).all(1)
    change = adv - x
    if norm == "l0":
        change = change.masked_fill(change.abs() <= ROUNDING, 0)
    with torch.no_grad():
        misread = net(adv).argmax(1) != y
    return balls.size(change, norm).masked_fill(~(valid & misread), torch.inf)


def ours(norm: balls.Norm) -> dict[str, Attack]:
    """Our attacks that look for the least change in that norm."""

    def of(make: Callable[[int], Any]) -> Attack:
        def run(net: nn.Module, x: Tensor, y: Tensor, passes: int) -> Tensor:
            allowed = Run(queries=passes - 1, batch_size=len(x))  # the engine's judgement is one
            method, budget = make(passes), Budget(norm, torch.inf)
            return attack(method, TorchClassifier(net), x, AwayFrom(y), budget, allowed).x

        return run

    def bisected(make: Callable[[int], Any]) -> Attack:
        def run(net: nn.Module, x: Tensor, y: Tensor, passes: int) -> Tensor:
            allowed = Run(queries=passes, batch_size=len(x))
            method, budget = make(passes // ROUNDS - 1), Budget(norm, FIRST[norm])
            target = TorchClassifier(net)
            return smallest(method, target, x, AwayFrom(y), budget, allowed, ROUNDS).x

        return run

    def carlini(passes: int) -> CarliniWagner:
        if norm != "l2":
            return CarliniWagner(
                enough=0.0, steps=max(5, passes // 20), step_size=RATE, initial_c=0.1
            )
        count, steps = searches(passes - 8, 2)
        first = 1e-3 if count > 5 else 0.1
        return CarliniWagner(
            enough=0.0, steps=steps, step_size=RATE, search_steps=count, initial_c=first
        )

    def elastic(passes: int) -> ElasticNet:
        count, steps = searches(passes - 8, 2)
        return ElasticNet(steps=steps, search_steps=count, initial_c=1e-3 if count > 5 else 0.1)

    known = [
        ("l0 l1 l2 linf", "FMN", of(lambda passes: FMN(steps=(passes - 8) // 2))),
        ("l0 l1 l2 linf", "PDPGD", of(lambda passes: PDPGD(steps=(passes - 8) // 2))),
        (
            "l0 l1 l2 linf", "Brendel-Bethge",
            of(lambda passes: BrendelBethge(steps=(passes - 30) // 2)),
        ),
        ("l0", "sigma-zero", of(lambda passes: SigmaZero(steps=(passes - 1) // 2))),
        ("l1 l2 linf", "FAB", of(lambda passes: FAB(steps=(passes - 4) // 11))),
        (
            "l1 l2 linf", "FAB, targeted",
            of(lambda passes: FAB(steps=(passes - 14) // 27, targets=9)),
        ),
        ("l1 l2 linf", "APGD-ce, bisected", bisected(lambda each: AutoPGD(steps=each // 2))),
        (
            "l1 l2 linf", "APGD-dlr, bisected",
            bisected(lambda each: AutoPGD(steps=each // 2, loss="dlr")),
        ),
        (
            "l1 l2 linf", "APGD-targeted, bisected",
            bisected(
                lambda each: AutoPGD(steps=max(3, each // 6), loss="dlr-targeted", targets=3)
            ),
        ),
        ("l1 l2", "ALMA", of(lambda passes: ALMA(steps=(passes - 8) // 2))),
        ("l1", "EAD", of(elastic)),
        ("l2 linf", "trust region", of(lambda passes: TrustRegion(steps=(passes - 22) // 2))),
        ("l2 linf", "DeepFool", of(lambda passes: DeepFool(steps=min(100, passes // 11)))),
        ("l0 l2 linf", "Carlini-Wagner", of(carlini)),
        ("l2", "DDN", of(lambda passes: DDN(steps=(passes - 6) // 2))),
    ]  # fmt: skip
    return {f"Holdfast {name}": run for norms, name, run in known if norm in norms.split()}


def measure(
    run: Attack, net: nn.Module, x: Tensor, y: Tensor, norm: balls.Norm, passes: int
) -> dict[str, Any]:
    """Distances, passes per row and seconds of one attack; one that breaks found nothing."""
    torch.manual_seed(0)
    start, error = time.perf_counter(), ""
    with counted(net) as count, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            adv = run(net, x.clone(), y.clone(), passes).detach()
        except Exception as reason:  # a library's own mistake: the attack counts as failed
            adv, error = x, f"{type(reason).__name__}: {reason}"
    took = time.perf_counter() - start
    if error:
        print(f"    {error}", file=sys.stderr, flush=True)
    return {
        "distance": distances(net, adv, x, y, norm).tolist(),
        "forwards": count.forwards / len(x), "backwards": count.backwards / len(x),
        "seconds": took, "error": error,
    }  # fmt: skip


def area(distance: Tensor, most: float) -> float:
    """Under the curve of robust accuracy against distance, up to `most`."""
    return float(distance.clamp(max=most).mean())


def optimality(distance: Tensor, best: Tensor) -> float:
    """Local optimality of one attack, given row by row the least distance of the pool."""
    most = float(best[best.isfinite()].max())
    least = area(best, most)
    return 1 - (area(distance, most) - least) / (most - least)


def where(net: str, norm: str, passes: int, name: str, rows: int) -> Path:
    """The file of one result."""
    stem = "".join(c if c.isalnum() else "-" for c in name)
    return RESULTS / f"{net}-{norm}-{rows}" / str(passes) / f"{stem}.json"


def run_all(given: argparse.Namespace) -> None:
    """Run what is not in the cache yet."""
    for name in given.nets:
        net = load(name, given.data).module
        pool = held_out(name, 2 * given.rows + 20, given.data)
        with torch.no_grad():
            right = net(pool.tensor).argmax(1) == pool.y
        x, y = pool.tensor[right][: given.rows], pool.y[right][: given.rows]
        for norm in given.norms:
            attacks = ours(norm) | peers.minimum_norm(norm)
            for passes in given.budgets:
                for title, run in attacks.items():
                    path = where(name, norm, passes, title, given.rows)
                    anew = any(text in title for text in given.again)
                    if given.only and not any(text in title for text in given.only):
                        continue
                    if any(text in title for text in given.without) or (
                        path.is_file() and not anew
                    ):
                        continue
                    got = measure(run, net, x, y, norm, passes)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(json.dumps({"attack": title, **got}))
                    told = torch.tensor(got["distance"])
                    print(
                        f"{name} {norm} {passes} {title}: median {float(told.median()):.4g}, "
                        f"{got['forwards'] + got['backwards']:.0f} passes, {got['seconds']:.1f} s",
                        flush=True,
                    )


def results(net: str, norm: str, rows: int) -> dict[int, dict[str, dict[str, Any]]]:
    """What the cache holds, by allowance and attack."""
    found: dict[int, dict[str, dict[str, Any]]] = {}
    for path in sorted((RESULTS / f"{net}-{norm}-{rows}").glob("*/*.json")):
        kept = json.loads(path.read_text())
        found.setdefault(int(path.parent.name), {})[kept["attack"]] = kept
    return found


def table(given: argparse.Namespace, norm: str, passes: int) -> None:
    """Print one table in Markdown: global optimality first, then each net's, best attack first."""
    lines: dict[str, list[tuple[float, float, float, float]]] = {}
    nets = [name for name in given.nets if passes in results(name, norm, given.rows)]
    for name in nets:
        kept = results(name, norm, given.rows)
        told = {
            (at, title): torch.tensor(one["distance"])
            for at, each in kept.items() for title, one in each.items()
        }  # fmt: skip
        best = torch.stack(list(told.values())).amin(0)
        for title, one in kept[passes].items():
            distance = told[passes, title]
            named = f"{title} (fails: {one['error'][:60]})" if one["error"] else title
            row = (
                optimality(distance, best), float(distance.median()),
                one["forwards"] + one["backwards"], one["seconds"],
            )  # fmt: skip
            lines.setdefault(named, []).append(row)
    if not lines:
        return
    heads = " | ".join(f"{name}: optimality, median" for name in nets)
    print(f"\n### {norm}, {passes} passes, {given.rows} rows\n")
    print(f"| attack | global optimality | {heads} | passes | seconds |")
    print(f"|{'---|' * (len(nets) + 4)}")
    whole = {title: each for title, each in lines.items() if len(each) == len(nets)}
    ranked = sorted(whole, key=lambda title: -statistics.mean(row[0] for row in whole[title]))
    for title in ranked:
        each = whole[title]
        means = [statistics.mean(row[i] for row in each) for i in (0, 2, 3)]
        parts = " | ".join(f"{row[0]:.3f}, {row[1]:.4g}" for row in each)
        shown = f"**{title}**" if title.startswith("Holdfast") else title
        print(f"| {shown} | {means[0]:.3f} | {parts} | {means[1]:.0f} | {means[2]:.1f} |")
    for title in sorted(set(lines) - set(whole)):
        print(f"| {title} | not run on every net | {'| ' * len(nets)}| |")


def main() -> int:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--nets", nargs="+", default=["pgd", "standard", "l2"])
    parser.add_argument("--norms", nargs="+", default=["l0", "l1", "l2", "linf"])
    parser.add_argument("--rows", type=int, default=50)
    parser.add_argument("--budgets", type=int, nargs="+", default=[400, 2000])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[], help="attacks whose name contains one")
    parser.add_argument("--without", nargs="*", default=[], help="attacks that are left out")
    parser.add_argument("--again", nargs="*", default=[], help="attacks that are run anew")
    parser.add_argument("--table", action="store_true", help="print what is there, run nothing")
    parser.add_argument("--data", type=Path, default=DATA)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if not given.table:
        run_all(given)
    for norm in given.norms:
        for passes in given.budgets:
            table(given, norm, passes)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
