"""Robust, or only hiding the gradient? Four planted fakes and three honestly trained nets on digits.

For each the table shows robust accuracy against PGD on the gradient that the model shows, against
the adaptive attack that `diagnose` chose by itself, and what was flagged. Exit code 1 where a fake
is not flagged or loses less than 20 points, or an honest net is flagged.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the planted nets are the tests' own

from holdfast import catalogue
from holdfast.core.dataset import Dataset
from holdfast.core.record import Measurement
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.masking import Diagnosis, diagnose
from tests.planted import FAKES, HONEST

POINTS = 0.20


def digits() -> tuple[Dataset, Dataset]:
    """Training and test rows, shuffled by a fixed seed."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    x = torch.tensor(raw.images, dtype=torch.float32).unsqueeze(1) / 16
    y = torch.tensor(raw.target, dtype=torch.long)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    whole = Dataset("digits", x[order], y[order], tuple("0123456789"))
    return whole.take(torch.arange(1200)), whole.take(torch.arange(1200, len(whole)))


def shown(found: Measurement) -> str:
    return f"{found.value:5.1%} [{found.low:.0%}, {found.high:.0%}]"


def line(name: str, found: Diagnosis, rows: int, seconds: float) -> str:
    passes = (found.forwards + found.backwards) / rows
    told = f"{len(found.flags)}: {', '.join(found.flags)}" if found.flags else "none"
    return (
        f"{name:24}{shown(found.plain):20}{shown(found.adaptive):20}{found.chosen:26}"
        f"{passes:8.0f}{seconds:8.1f}  {told}"
    )


def main() -> int:
    """Print one line per net, and for each attack what it reached on the sample."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--eps", type=float, default=0.1, help="Linf")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="nets whose name contains this")
    parser.add_argument("--details", action="store_true", help="every symptom and every attack")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for id_ in ("pgd", "eot", "square"):
        catalogue.load(f"evasion/{id_}")
    train, test = digits()
    test = test.first(given.rows)
    print(f"n = {len(test)}, Linf {given.eps:g}, seed {given.seed}, 95 % intervals")
    print(f"{'net':24}{'plain PGD':20}{'adaptive':20}{'chosen':26}{'passes':>8}{'s':>8}  flags")
    wrong = 0
    for name, make in {**FAKES, **HONEST}.items():
        if given.only not in name:
            continue
        target = make(train)
        start = time.perf_counter()
        found = diagnose(target, test, Budget("linf", given.eps), Run(seed=given.seed))
        print(line(name, found, len(test), time.perf_counter() - start), flush=True)
        if given.details:
            for each in found.tried:
                print(f"    {each}")
            for symptom in found.symptoms:
                print(
                    f"    {'FLAG' if symptom.flagged else '    '} {symptom.evidence}; {symptom.rule}"
                )
        fallen = found.plain.value - found.adaptive.value
        good = found.masked and fallen >= POINTS if name in FAKES else not found.masked
        wrong += not good
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
