"""The mixed-integer programme of the smallest change that moves the sums of a tree ensemble.

Kantchelian et al. 2016, sec. 4.2: one binary per threshold, one share per leaf. Solved by HiGHS.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from holdfast.ops.trees import CLEAR, TreeEnsemble, conditions, into

SLACK = 1e-6
"""How far beyond the best size known the solver looks, relatively, so as not to lose that one."""
TOLERANCE = 1e-9
"""To which HiGHS keeps constraints and whole numbers; its default of 1e-6 is near CLEAR."""


@dataclass(frozen=True, eq=False)
class Forms:
    """Which columns hold whole numbers only, and which of them are values of one category.

    Attributes:
        whole: (D,) Boolean.
        groups: 0/1 columns of which exactly one is 1; they are whole.
    """

    whole: Tensor
    groups: tuple[tuple[int, ...], ...] = ()

    def last(self, feature: Tensor, threshold: Tensor) -> Tensor:
        """The largest value that goes left, of which there may be several thresholds."""
        return torch.where(self.whole[feature], threshold.floor(), threshold)

    def first(self, feature: Tensor, last: Tensor) -> Tensor:
        """The smallest value that goes right."""
        after = torch.nextafter(last, torch.tensor(torch.inf))
        return torch.where(self.whole[feature], last + 1, after)


@dataclass(frozen=True, eq=False)
class Cells:
    """Where one row may go, cut by the thresholds that can still be on either side of it.

    Attributes:
        x: (D,) the row.
        low: (D,) smallest values that are looked at.
        high: (D,) largest values.
        forms: which columns are whole.
        feature: (P,) of each threshold, ascending.
        limit: (P,) the largest values that go left, ascending within each feature.
        shares: per feature that has thresholds, their positions (k,), and what each of the k + 1
            cells between them adds to the change.
        bound: largest change that is looked at.
        measure: how the shares make up the change: their largest, or their sum.
    """

    x: Tensor
    low: Tensor
    high: Tensor
    forms: Forms
    feature: Tensor
    limit: Tensor
    shares: list[tuple[np.ndarray, np.ndarray]]
    bound: float
    measure: Literal["linf", "l1", "l0"]


def cells(
    trees: TreeEnsemble, x: Tensor, domain: tuple[Tensor, Tensor], unit: Tensor, forms: Forms,
    bound: float, measure: Literal["linf", "l1", "l0"],
) -> Cells:  # fmt: skip
    """The cells around x (D,) within `domain` and no farther than `bound`, in units (D,)."""
    low, high, bound = *domain, bound * (1 + SLACK) + TOLERANCE
    if measure != "l0":
        low, high = torch.maximum(low, x - unit * bound), torch.minimum(high, x + unit * bound)
    low, high = (
        torch.where(forms.whole, low.ceil(), low),
        torch.where(forms.whole, high.floor(), high),
    )
    inner = trees.feature >= 0
    feature, limit = trees.feature[inner], forms.last(trees.feature[inner], trees.threshold[inner])
    values = [column for group in forms.groups for column in group]  # one of each may become 1
    feature = torch.cat([feature, torch.tensor(values, dtype=torch.long)])
    limit = torch.cat([limit, torch.zeros(len(values))])
    pairs = torch.stack([feature.double(), limit.double()], 1).unique(dim=0)  # sorted
    feature, limit = pairs[:, 0].long(), pairs[:, 1].float()
    free = (limit >= low[feature]) & (limit < high[feature])
    feature, limit, shares = feature[free], limit[free], []
    others = {c for group in forms.groups for c in group if x[c] == 0}  # a change counts once
    for f in feature.unique().tolist():
        own = (feature == f).nonzero().flatten()
        start = torch.cat([low[f : f + 1], forms.first(feature[own], limit[own])])
        stop = torch.cat([limit[own], high[f : f + 1]])
        near = x[f].clamp(start, stop) if forms.whole[f] else into(x[f], start, stop)
        moved = (near - x[f]).abs()
        share = (moved > 0).double() if measure == "l0" else moved.double() / unit[f]
        shares.append((own.numpy(), share.numpy() * (f not in others)))
    return Cells(x, low, high, forms, feature, limit, shares, bound, measure)


class _Rows:
    """Constraints low <= a v <= high, gathered one by one."""

    def __init__(self) -> None:
        self.index: list[np.ndarray] = []
        self.value: list[np.ndarray] = []
        self.low: list[float] = []
        self.high: list[float] = []

    def add(self, index: Any, value: Any, low: float, high: float) -> None:
        self.index.append(np.asarray(index, dtype=np.int32))
        self.value.append(np.broadcast_to(np.asarray(value, dtype=np.float64), len(index)))
        self.low.append(low)
        self.high.append(high)


def solve(
    trees: TreeEnsemble, where: Cells, wins: Sequence[tuple[int, int]], seconds: float
) -> tuple[Tensor | None, bool]:
    """The nearest point of the cells at which class i is clearly ahead of class j for all (i, j).

    Returns:
        The best point (1, D) that was found, or None; and whether it is proven that no point
        within the bound is nearer.
    """
    leaves = ((trees.low <= where.high) & (trees.high >= where.low)).all(1).nonzero().flatten()
    first = len(where.limit)  # columns: thresholds, then leaves, then the largest share
    rows, gains = _Rows(), np.zeros(first + len(leaves) + 1)
    _structure(rows, trees, where, leaves)
    for win, lose in wins:
        ahead = (
            trees.value[trees.leaf[leaves], win] - trees.value[trees.leaf[leaves], lose]
        ).numpy()
        start = float(trees.base[win] - trees.base[lose])
        rows.add(first + np.arange(len(leaves)), ahead, CLEAR + 1e-8 - start, np.inf)
    total, fixed = gains.copy(), 0.0
    for own, share in where.shares:  # share_k + sum_j p_j (share_{j-1} - share_j)
        steps = share[:-1] - share[1:]
        rows.add([*own, len(gains) - 1], [*-steps, 1.0], float(share[-1]), np.inf)
        total[own], fixed = steps, fixed + float(share[-1])
    if where.measure == "linf":
        gains[-1] = 1.0
    else:
        gains, moved = total, total.nonzero()[0]
        rows.add(moved, total[moved], -np.inf, where.bound - fixed)
    top = np.append(np.ones(len(gains) - 1), where.bound if where.measure == "linf" else np.inf)
    told, proven = _highs(rows, gains, top, first, seconds)
    if told is None:
        return None, proven
    left = torch.tensor(told[:first]) > 0.5
    low, high = where.low.clone(), where.high.clone()
    after = where.forms.first(where.feature, where.limit)
    low.scatter_reduce_(0, where.feature[~left], after[~left], "amax")
    high.scatter_reduce_(0, where.feature[left], where.limit[left], "amin")
    ends = torch.minimum(torch.maximum(where.x, low), high)
    return torch.where(where.forms.whole, ends, into(where.x, low, high)).unsqueeze(0), proven


def _structure(rows: _Rows, trees: TreeEnsemble, where: Cells, leaves: Tensor) -> None:
    """One leaf per tree, thresholds in order, one value per category, leaves under thresholds."""
    first = len(where.limit)
    column = torch.full((len(trees.leaf),), -1)
    column[leaves] = first + torch.arange(len(leaves))
    tree = trees.tree[leaves].numpy()
    for t in range(len(trees.roots)):
        rows.add(first + (tree == t).nonzero()[0], 1.0, 1.0, 1.0)
    for own, _ in where.shares:
        for i in range(len(own) - 1):
            rows.add(own[i : i + 2], [1.0, -1.0], -np.inf, 0.0)
    for group in where.forms.groups:
        those = [i for i, f in enumerate(where.feature.tolist()) if f in group]
        if those:  # as many are 0 as there are values but one
            rows.add(those, 1.0, len(those) - 1.0, len(those) - 1.0)
    names = list(zip(where.feature.tolist(), where.limit.tolist(), strict=True))
    place = {name: i for i, name in enumerate(names)}
    leaf, node, left = conditions(trees)
    keep = column[leaf] >= 0
    leaf, node, left = leaf[keep], node[keep], left[keep]
    order = (2 * node + left).argsort(stable=True)
    leaf, node, left = leaf[order], node[order], left[order]
    _, counts = torch.unique_consecutive(2 * node + left, return_counts=True)
    limit = where.forms.last(trees.feature[node], trees.threshold[node])
    asked = [trees.feature[node].tolist(), limit.tolist()]
    end = 0
    for count in counts.tolist():
        start, end = end, end + count
        threshold = place.get((asked[0][start], asked[1][start]))
        if threshold is None:  # it lies on one side for all cells
            continue
        index, sign = column[leaf[start:end]].tolist(), -1.0 if left[start] else 1.0
        rows.add([*index, threshold], [1.0] * count + [sign], -np.inf, max(sign, 0.0))


def _highs(
    rows: _Rows, gains: np.ndarray, top: np.ndarray, whole: int, seconds: float
) -> tuple[np.ndarray | None, bool]:
    """Minimise gains v over 0 <= v <= top, the first `whole` of them whole numbers."""
    import highspy

    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = len(gains), len(rows.low)
    model.col_cost_, model.col_lower_, model.col_upper_ = gains, np.zeros(len(gains)), top
    model.row_lower_, model.row_upper_ = np.array(rows.low), np.array(rows.high)
    kinds = highspy.HighsVarType
    model.integrality_ = [kinds.kInteger] * whole + [kinds.kContinuous] * (len(gains) - whole)
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_ = np.cumsum([0, *map(len, rows.index)])
    model.a_matrix_.index_ = np.concatenate(rows.index)
    model.a_matrix_.value_ = np.concatenate(rows.value)
    solver: Any = highspy.Highs()
    options = {
        "output_flag": False, "threads": 1, "time_limit": seconds, "mip_rel_gap": 0.0,
        "mip_abs_gap": TOLERANCE, "mip_feasibility_tolerance": TOLERANCE,
        "primal_feasibility_tolerance": TOLERANCE, "random_seed": 0,
    }  # fmt: skip
    for name, value in options.items():
        solver.setOptionValue(name, value)
    solver.passModel(model)
    solver.run()
    status, states = solver.getModelStatus(), highspy.HighsModelStatus
    proven = status in (states.kOptimal, states.kInfeasible)
    point = np.array(solver.getSolution().col_value)
    feasible = solver.getInfo().primal_solution_status == 2
    return (point if feasible else None), proven
