"""Small tree ensembles whose exact minimal changes a count over all cells gives."""

from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import torch
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor

from holdfast.core.constraints import Table
from holdfast.core.goal import AwayFrom
from holdfast.core.space import Box
from holdfast.ops import balls
from holdfast.ops.trees import CLEAR, TreeEnsemble
from holdfast.targets.sklearn import wrap


@dataclass(frozen=True)
class TreeTarget:
    """Trees without a library: sums in double precision."""

    ensemble: TreeEnsemble
    space: Box = field(default_factory=Box)

    def scores(self, x: Tensor) -> Tensor:
        return self.ensemble.scores(x)

    def decode(self, raw: Tensor) -> Tensor:
        return raw.argmax(1)

    def answer(self, x: Tensor) -> Tensor:
        return self.decode(self.scores(x))


def by_hand(space: Box | None = None) -> TreeTarget:
    """One tree of two features in [0, 1]^2; leaves hold classes 0, 1, 0, 1 from left to right.

                x0 <= 0.5
      x1 <= 0.6             x1 <= 0.2
    0           1         0           1
    """
    feature = torch.tensor([0, 1, 1, -1, -1, -1, -1])
    threshold = torch.tensor([0.5, 0.6, 0.2, 0, 0, 0, 0])
    left, right = torch.tensor([1, 3, 5, 3, 4, 5, 6]), torch.tensor([2, 4, 6, 3, 4, 5, 6])
    value = torch.zeros(7, 2, dtype=torch.float64)
    value[[3, 5], 0] = 1
    value[[4, 6], 1] = 1
    base = torch.zeros(2, dtype=torch.float64)
    trees = TreeEnsemble(
        feature, threshold, left, right, value, torch.tensor([0]), base, 2, "probability"
    )
    return TreeTarget(trees, space or Box())


def fitted(kind: str, classes: int, features: int = 3, seed: int = 0) -> tuple[Any, Tensor]:
    """A small fitted ensemble, columns of different range, and rows it was not fitted on."""
    x, y = make_classification(
        300, features, n_informative=features, n_redundant=0, n_classes=classes,
        n_clusters_per_class=1, class_sep=0.8, random_state=seed,
    )  # fmt: skip
    x = (x * np.array([1.0, 10.0, 0.1, 1.0, 1.0, 1.0][:features])).astype("float32")
    model = {
        "tree": DecisionTreeClassifier(max_depth=4, random_state=seed),
        "forest": RandomForestClassifier(7, max_depth=3, random_state=seed),
        "large": RandomForestClassifier(40, max_depth=7, random_state=seed),
        "boosting": HistGradientBoostingClassifier(max_iter=6, max_leaf_nodes=6, random_state=seed),
    }[kind].fit(x[:200], y[:200])
    rows = torch.tensor(x)
    low, high = rows.amin(0), rows.amax(0)
    return wrap(model, Box(low, high, high - low)), rows[200:]


def exact(target: Any, x: Tensor, goal: AwayFrom, norm: balls.Norm) -> Tensor:
    """(N,) smallest change that reaches the goal clearly, over all cells between thresholds.

    Within a cell every tree is constant; the cells are all that there is.
    """
    trees, low, high = target.ensemble, *_edges(target.space, x.shape[1])
    ends = []
    for column in range(x.shape[1]):
        cuts = trees.threshold[trees.feature == column].unique()
        cuts = cuts[(cuts >= low[column]) & (cuts < high[column])]
        after = torch.nextafter(cuts, torch.tensor(torch.inf))
        start, stop = (
            torch.cat([low[column].view(1), after]),
            torch.cat([cuts, high[column].view(1)]),
        )
        ends.append(list(zip(start.tolist(), stop.tolist(), strict=True)))
    cells = torch.tensor(list(product(*ends)))
    sums = trees.sums(cells[:, :, 0])
    scale = torch.as_tensor(target.space.scale)
    far = []
    for i, row in enumerate(x):
        aim = goal.take(torch.full((len(cells),), i))
        near = torch.minimum(torch.maximum(row, cells[:, :, 0]), cells[:, :, 1]) - row
        frozen = target.space.editable
        allowed = aim.margin(sums) > CLEAR
        if frozen is not None:
            allowed &= (near[:, ~frozen] == 0).all(1)
        size = balls.size(near / scale, norm).masked_fill(~allowed, torch.inf)
        far.append(size.min())
    return torch.stack(far)


def _edges(space: Box, features: int) -> tuple[Tensor, Tensor]:
    return tuple(
        torch.as_tensor(v, dtype=torch.float32).expand(features) for v in (space.low, space.high)
    )


def on_a_table(n: int) -> tuple[Any, Table, Tensor, Tensor]:
    """A forest on two categories and two whole numbers, n valid rows, and all rows there are."""
    names = ("a=1", "a=2", "a=3", "b=1", "b=2", "n", "m")
    high = torch.tensor([1.0, 1, 1, 1, 1, 5, 5])
    space = Table.of(names, Box(torch.zeros(7), high, high), integers=("n", "m"), rise=("m",))
    rng = torch.Generator().manual_seed(0)
    x = space.snap(high * torch.rand(400, 7, generator=rng))
    y = (x[:, 0] + x[:, 3] * 2 + (x[:, 5] - x[:, 6]) / 2 + x[:, 1] * x[:, 5] / 3 > 1.5).long()
    model = RandomForestClassifier(9, max_depth=5, random_state=0).fit(x.numpy(), y.numpy())
    one, two = torch.eye(3).tolist(), torch.eye(2).tolist()
    every = torch.tensor([[*a, *b, n, m] for a, b, n, m in product(one, two, range(6), range(6))])
    return wrap(model, space), space, x[:n], every


def among(target: Any, space: Table, x: Tensor, every: Tensor, norm: balls.Norm) -> Tensor:
    """(N,) distance to the nearest valid row that is clearly misread, inf where there is none."""
    told, goal, far = target.ensemble.sums(every), AwayFrom(target.answer(x)), []
    for i, row in enumerate(x):
        wrong = goal.take(torch.full((len(every),), i)).margin(told) > CLEAR
        wrong &= ~torch.stack(list(space.violations(every, row.expand_as(every)).values())).any(0)
        size = space.distance(every, row.expand_as(every), norm).masked_fill(~wrong, torch.inf)
        far.append(size.min())
    return torch.stack(far)
