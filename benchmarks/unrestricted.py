"""New MNIST digits that a net misreads: do they still show the digit that they were made to show?

    PYTHONPATH=. python benchmarks/unrestricted.py [NET ...] [--rows 200] [--sheet FILE.png]
        [--lessons 3000] [--latent 16] [--seed 0] [--data DIR]

One half of the training rows teaches the conditional GAN, the other half two judges that have no part
in the search: the attack's own independent classifier, and nearest neighbours, which have no gradient
that a search could have followed by chance. For every test row that the net reads rightly the attack
looks for a new image of its class that the net misreads. Beside it stand two controls: one image per
row as the generator makes it, and as many of them as the search takes passes, without a search.
Printed are the share of rows that fool the net, the share of those that keep their label in the eyes
of either judge, and the share that does both, with 95 % intervals. FILE-NET.png gets 50 images that
fool the net, five of each class, with what the net reads.
"""

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from matplotlib.figure import Figure
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from benchmarks.nets import DATA, held_out, load
from holdfast.core.dataset import Dataset
from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.data.idx import open_idx
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.gan_unrestricted import GANUnrestricted, WithGAN
from holdfast.ops.stats import clopper_pearson
from holdfast.targets.torch import TorchClassifier

NEIGHBOURS = 5


@dataclass(frozen=True)
class Judges:
    """Two classifiers of other rows than the GAN's."""

    learnt: WithGAN
    neighbours: KNeighborsClassifier

    def told(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What either sees in the images."""
        near = torch.as_tensor(self.neighbours.predict(x.flatten(1).numpy()))
        return self.learnt.judge(x), near


def learnt(train: Dataset, method: GANUnrestricted, seed: int) -> Judges:
    """The attack with its GAN and its judge, and nearest neighbours among the judge's rows."""
    attacker = method.learn(train, Run(seed=seed).generator("learn"))
    # the attack's first draw parts the rows, so the same draw names the judge's again
    order = torch.randperm(len(train), generator=Run(seed=seed).generator("learn"))
    others = order[len(train) // 2 :]
    known = KNeighborsClassifier(NEIGHBOURS).fit(
        train.tensor[others].flatten(1).numpy(), train.y[others].numpy()
    )
    return Judges(attacker, known)


def share(hits: Tensor) -> str:
    """`97.0 [93.6, 98.9]`: percent, and the exact 95 % interval; a dash of no rows."""
    if not len(hits):
        return "-"
    low, high = clopper_pearson(int(hits.sum()), len(hits))
    return f"{100 * float(hits.double().mean()):.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def line(
    name: str, x: Tensor, fooled: Tensor, labels: Tensor, judges: Judges, seconds: float
) -> str:
    """A row of the table; the label is judged on the images that fool the net."""
    kept, near = (told == labels for told in judges.told(x))
    cells = (
        name, str(len(x)), share(fooled), share(kept[fooled]), share(near[fooled]),
        share(fooled & kept), f"{seconds:.1f}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def sheet(path: Path, x: Tensor, labels: Tensor, answers: Tensor) -> None:
    """At most five images of each class, a column each, with what the net reads above each."""
    figure = Figure((8, 5))
    for digit in range(10):
        for i, row in enumerate((labels == digit).nonzero().flatten()[:5].tolist()):
            axes = figure.add_subplot(5, 10, 10 * i + digit + 1)
            axes.imshow(x[row, 0].numpy(), cmap="gray", vmin=0, vmax=1)
            axes.set_title(f"{digit} read {int(answers[row])}", fontsize=6, pad=1)
            axes.axis("off")
    figure.tight_layout(pad=0.2)
    figure.savefig(path, dpi=120)


def compare(
    name: str, target: TorchClassifier, test: Dataset, judges: Judges, seed: int, picture: Path | None
) -> None:  # fmt: skip
    """Print the attack and its controls on one net."""
    rows = (target.answer(test.tensor) == test.y).nonzero().flatten()
    x, y, attacker = test.tensor[rows], test.y[rows], judges.learnt
    rng = Run(seed=seed).generator("plain")
    with torch.no_grad():
        plain = attacker.gan.made(torch.randn(len(x), attacker.gan.latent, generator=rng), y)
    # all plain images, not only those that fool the net: how good the generator is
    kept, near = (share(told == y) for told in judges.told(plain))
    print(f"| {name}: plain, all | {len(x)} | - | {kept} | {near} | - | - |")
    print(line(f"{name}: plain", plain, target.answer(plain) != y, y, judges, 0.0))
    method = attacker.method
    drawn = replace(attacker, method=replace(method, steps=1, tries=method.steps * method.tries))
    for title, each in (("as many draws", drawn), ("search", attacker)):
        start = time.perf_counter()
        got = attack(each, target, x, AwayFrom(y), Budget("any", 0.0), Run(seed=seed))
        took = time.perf_counter() - start
        print(line(f"{name}: {title}", got.x, got.success, y, judges, took), flush=True)
    if picture:
        won = got.success
        sheet(picture, got.x[won], y[won], target.answer(got.x[won]))


def main() -> None:
    """Train once, then print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nets", nargs="*", default=["standard", "pgd"])
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--lessons", type=int, default=3000, help="training steps of the GAN")
    parser.add_argument("--latent", type=int, default=16, help="numbers per code")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=DATA)
    given = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    method = GANUnrestricted(lessons=given.lessons, latent=given.latent)
    judges = learnt(open_idx(given.data / "mnist", seed=0).train, method, given.seed)
    print(f"GAN and judge trained in {time.perf_counter() - start:.0f} s", flush=True)
    test = held_out("standard", 2000, given.data)
    clean = [share(told == test.y) for told in judges.told(test.tensor)]
    print(f"clean accuracy of the judges, n = {len(test)}: independent classifier {clean[0]}, "
          f"{NEIGHBOURS} nearest neighbours {clean[1]}")  # fmt: skip
    print("| net | rows | fools it | label kept, of those | label kept, neighbours | both | s |")
    print("|---|---|---|---|---|---|---|")
    for name in given.nets:
        at = given.sheet and given.sheet.with_stem(f"{given.sheet.stem}-{name}")
        target = load(name, given.data)
        compare(name, target, test.first(given.rows), judges, given.seed, at)


if __name__ == "__main__":
    main()
