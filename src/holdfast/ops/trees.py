"""Tree ensembles as tensors: leaves, sums, the boxes that leaves are, and moves between boxes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Generator, Tensor

CLEAR = 1e-5
"""A class wins clearly when its sum is ahead by this much: libraries add up in single precision."""
STEPS = 4 * 2.0**-23
"""How far a point is put beyond a threshold, relative to its size: what a projection may round off."""
FLOOR = 1e-12
"""Probabilities are clipped here before the logarithm, as for every model that gives exact zeros."""
HALVINGS = 12
"""Bisections of the way from a clean row to a first point where the goal holds."""
RESETS, RESET = 48, 0.2
"""Tries to set columns of a first point back to the clean row, and the share set back in each."""
NUMBERS = 2**23
"""Numbers of one intermediate result; more rows than fit are worked on in turn."""

Reached = Callable[[Tensor, Tensor], Tensor]
"""Class sums (M, K) and the row (M,) each is for -> (M,) Boolean."""
Measured = Callable[[Tensor], Tensor]
"""Changes (M, D) -> (M,) sizes."""
Nearest = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Rows (M, D) and closed boxes [low, high] -> nearest valid rows (M, D), and (M,) where any is."""


@dataclass(frozen=True, eq=False)
class TreeEnsemble:
    """A sum over trees of what their leaves hold: M nodes, T trees, L leaves, D features, K classes.

    A row goes left where x <= threshold, both in single precision. A library that compares in
    double precision, or by <, is stored as the largest single that goes left (`largest_left`).

    Attributes:
        feature: (M,) index of the feature a node asks for, -1 at leaves.
        threshold: (M,) float32.
        left: (M,) child nodes.
        right: (M,) child nodes.
        value: (M, K) float64, what a leaf adds to each class.
        roots: (T,) first node of each tree.
        base: (K,) float64, what every row starts with.
        features: D.
        link: what the sums are: probabilities, or logits whose softmax is the probabilities.
    """

    feature: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor
    value: Tensor
    roots: Tensor
    base: Tensor
    features: int
    link: Literal["probability", "logit"] = "logit"

    def leaves(self, x: Tensor) -> Tensor:
        """(N, T) node in which each row of x (N, ...) ends, per tree."""
        rows = x.flatten(1).float().cpu()
        node = self.roots.expand(len(rows), -1)
        while bool((inner := self.feature[node] >= 0).any()):
            asked = rows.gather(1, self.feature[node].clamp(min=0))
            down = torch.where(asked <= self.threshold[node], self.left[node], self.right[node])
            node = torch.where(inner, down, node)
        return node

    def sums(self, x: Tensor) -> Tensor:
        """(N, K) float64: base plus what the leaves hold. The largest is the answer."""
        return self.base + self.value[self.leaves(x)].sum(1)

    def scores(self, x: Tensor) -> Tensor:
        """(N, K) float64 whose softmax is the probabilities."""
        sums = self.sums(x)
        return sums if self.link == "logit" else sums.clamp(min=FLOOR).log()

    @cached_property
    def leaf(self) -> Tensor:
        """(L,) nodes that are leaves, tree by tree."""
        return self._layout[0]

    @cached_property
    def tree(self) -> Tensor:
        """(L,) the tree that each leaf belongs to."""
        return self._layout[1]

    @cached_property
    def low(self) -> Tensor:
        """(L, D) float32 smallest values of the closed box of inputs that end in each leaf."""
        return self._layout[2]

    @cached_property
    def high(self) -> Tensor:
        """(L, D) float32 largest values of that box."""
        return self._layout[3]

    @cached_property
    def place(self) -> Tensor:
        """(M,) position of each node among the leaves, -1 for others."""
        place = torch.full_like(self.feature, -1)
        place[self.leaf] = torch.arange(len(self.leaf))
        return place

    @cached_property
    def _layout(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Walk down all trees at once, narrowing one side of the box at every node."""
        at, tree = self.roots, torch.arange(len(self.roots))
        low = torch.full((len(at), self.features), -torch.inf)
        high = torch.full((len(at), self.features), torch.inf)
        found = []
        while len(at):
            end = self.feature[at] < 0
            found.append((at[end], tree[end], low[end], high[end]))
            at, tree, low, high = at[~end], tree[~end], low[~end], high[~end]
            column, limit = self.feature[at].unsqueeze(1), self.threshold[at].unsqueeze(1)
            under = high.scatter(1, column, torch.minimum(high.gather(1, column), limit))
            after = torch.nextafter(limit, torch.tensor(torch.inf))
            above = low.scatter(1, column, torch.maximum(low.gather(1, column), after))
            at = torch.cat([self.left[at], self.right[at]])
            tree = torch.cat([tree, tree])
            low, high = torch.cat([low, above]), torch.cat([under, high])
        node, tree, low, high = (torch.cat(part) for part in zip(*found, strict=True))
        order = torch.argsort(tree * len(self.feature) + node)
        return node[order], tree[order], low[order], high[order]


def largest_left(threshold: Tensor, strict: bool) -> Tensor:
    """The largest float32 that a comparison in double precision, x <= t or x < t, sends left."""
    exact = threshold.double()
    single = exact.float()
    over = single.double() >= exact if strict else single.double() > exact
    return torch.where(over, torch.nextafter(single, torch.tensor(-torch.inf)), single)


def into(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Nearest point to x of the closed boxes [low, high], a little inside where it had to move.

    Rounding of later sums and products then does not bring it back over a threshold; in a box that
    is too narrow for that it is put into the middle.
    """
    up = low + STEPS * (x.abs() + low.abs())
    down = high - STEPS * (x.abs() + high.abs())
    middle = low / 2 + high / 2
    narrow = up > down
    up, down = torch.where(narrow, middle, up), torch.where(narrow, middle, down)
    return torch.where(x < low, up, torch.where(x > high, down, x))


def in_box(x: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """`Nearest` where every point of a box is valid."""
    return into(x, low, high), (low <= high).all(-1)


@dataclass(frozen=True)
class Judge:
    """What a search through leaves is for.

    Attributes:
        reached: whether the goal holds.
        measured: how large a change is.
        nearest: the nearest valid row of a box.
        snap: makes any rows valid ones; None where all are.
    """

    reached: Reached
    measured: Measured
    nearest: Nearest = in_box
    snap: Callable[[Tensor], Tensor] | None = None


def descend(
    trees: TreeEnsemble, x: Tensor, start: Tensor, domain: tuple[Tensor, Tensor], judge: Judge
) -> Tensor:
    """Greedy descent over leaf tuples: swap one tree's leaf at a time, always to the nearest box.

    A leaf tuple, one leaf per tree, is the box where its leaves meet. Neighbours differ in one
    leaf; of those that are not empty and hold the goal, the one whose box is nearest to x comes
    next, until none is nearer (Zhang et al. 2020, sec. 3).

    Args:
        trees: the ensemble.
        x: (N, D) clean rows.
        start: (N, D) valid rows where the goal is reached.
        domain: smallest and largest allowed values, (N, D) each.
        judge: the goal, the size of changes, and what is valid.

    Returns:
        (N, D) the points nearest to x of the boxes where the descent ended.
    """
    size = max(1, NUMBERS // max(1, len(trees.roots) * trees.features))
    ends = []
    for rows in torch.arange(len(x)).split(size):
        part = (domain[0][rows], domain[1][rows])
        ends.append(_descend(trees, x[rows], start[rows], part, rows, judge))
    return torch.cat(ends) if ends else start


def _descend(
    trees: TreeEnsemble, x: Tensor, start: Tensor, domain: tuple[Tensor, Tensor], names: Tensor,
    judge: Judge,
) -> Tensor:  # fmt: skip
    """`descend` on rows that fit into memory together."""
    value = trees.value[trees.leaf]
    at = trees.place[trees.leaves(start)]
    low, high = trees.low[at].amax(1), trees.high[at].amin(1)
    best, _ = judge.nearest(x, torch.maximum(low, domain[0]), torch.minimum(high, domain[1]))
    near, left = judge.measured(best - x), torch.arange(len(x))
    while len(left):
        low, high, useful = _others(trees, at[left], x[left], domain[0][left], domain[1][left])
        row, leaf = useful[:, trees.tree].nonzero(as_tuple=True)
        tree, clean = trees.tree[leaf], x[left]
        low = torch.maximum(trees.low[leaf], low[row, tree])  # the box of every swap, (swaps, D)
        high = torch.minimum(trees.high[leaf], high[row, tree])
        sums = trees.base + value[at[left]].sum(1)
        sums = sums[row] - value[at[left[row], tree]] + value[leaf]
        good = (low <= high).all(1) & judge.reached(sums, names[left[row]])
        row, leaf, low, high = row[good], leaf[good], low[good], high[good]
        points, there = judge.nearest(clean[row], low, high)
        sizes = judge.measured(points - clean[row]).masked_fill(~there, torch.inf)
        nearest, swap = _least(sizes, row, len(left))
        won = nearest < near[left]
        left, swap = left[won], swap[won]
        near[left], best[left] = nearest[won], points[swap]
        at[left, trees.tree[leaf[swap]]] = leaf[swap]
    return best


def _least(sizes: Tensor, row: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(count,) smallest size of each row, inf for none, and the first position that has it."""
    least = sizes.new_full((count,), torch.inf).scatter_reduce(0, row, sizes, "amin")
    first = (sizes == least[row]).nonzero().flatten()
    place = torch.full((count,), len(row)).scatter_reduce(0, row[first], first, "amin")
    return least, place


def _others(
    trees: TreeEnsemble, at: Tensor, x: Tensor, bottom: Tensor, top: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """For every tree the box (N, T, D) where the leaves of all the others and the domain meet.

    And (N, T) whether it is larger towards x than with that tree: only such a tree's leaf can be
    swapped for one with which the box comes nearer to x.
    """
    ends, useful = [], torch.zeros(at.shape, dtype=torch.bool)
    for sign, bound, edge in ((1.0, trees.low, bottom), (-1.0, trees.high, top)):
        each, least = sign * bound[at], (sign * edge).unsqueeze(1)
        rest = least
        if each.shape[1] > 1:
            first, second = each.topk(2, 1).values.split(1, 1)
            # who holds the largest bound alone is left out by taking the second largest
            rest = torch.maximum(torch.where(each == first, second, first), least)
        ends.append(sign * rest.expand_as(each))
        useful |= ((each > rest) & (each > (sign * x).unsqueeze(1))).any(2)
    return ends[0], ends[1], useful


def reach(trees: TreeEnsemble, x: Tensor, domain: tuple[Tensor, Tensor], judge: Judge) -> Tensor:
    """(N, L) size of the smallest change of each row that ends in each leaf, inf where none does."""
    count = len(trees.leaf)
    size, sizes = max(1, NUMBERS // max(1, count * trees.features)), []
    for rows in torch.arange(len(x)).split(size):
        clean = x[rows].repeat_interleave(count, 0)
        low = torch.maximum(trees.low, domain[0][rows].unsqueeze(1)).flatten(0, 1)
        high = torch.minimum(trees.high, domain[1][rows].unsqueeze(1)).flatten(0, 1)
        points, there = judge.nearest(clean, low, high)
        there &= (low <= high).all(1)
        near = judge.measured(torch.where(there.unsqueeze(1), points - clean, 0))
        sizes.append(near.masked_fill(~there, torch.inf).view(len(rows), count))
    return torch.cat(sizes) if sizes else torch.zeros(0, count)


def conditions(trees: TreeEnsemble) -> tuple[Tensor, Tensor, Tensor]:
    """What every leaf asks for: (C,) leaf, (C,) node above it, (C,) whether it lies to its left."""
    parent, left = _parents(trees)
    node, leaf, found = trees.leaf, torch.arange(len(trees.leaf)), []
    while len(node):
        inner = parent[node] >= 0
        node, leaf = node[inner], leaf[inner]
        found.append((leaf, parent[node], left[node]))
        node = parent[node]
    a, b, c = (torch.cat(part) for part in zip(*found, strict=True))
    return a, b, c


def _parents(trees: TreeEnsemble) -> tuple[Tensor, Tensor]:
    """(M,) the node above each, -1 for roots, and (M,) whether it is that one's left child."""
    parent, left = torch.full_like(trees.feature, -1), torch.zeros(len(trees.feature)).bool()
    inner = (trees.feature >= 0).nonzero().flatten()
    parent[trees.left[inner]], parent[trees.right[inner]] = inner, inner
    left[trees.left[inner]] = True
    return parent, left


def climbs(trees: TreeEnsemble, at: Tensor) -> Tensor:
    """(n, L) how many nodes one climbs from the leaves `at` (n,) until each other leaf is below.

    The distance of a walk through a single tree: siblings are 1 apart, leaves that only the root
    joins are as far apart as the first is deep, and a leaf is 0 from itself.
    """
    parent, node, ways = _parents(trees)[0], trees.leaf, []
    while bool((node >= 0).any()):
        ways.append(node)
        node = torch.where(node >= 0, parent[node], node)
    depth = torch.stack([way >= 0 for way in ways]).sum(0) - 1
    # the way down from the root to every leaf, one node per column; beyond a leaf no two agree
    down = -torch.arange(1, len(depth) + 1).unsqueeze(1).repeat(1, len(ways))
    for steps, way in enumerate(ways):
        there = (way >= 0).nonzero().flatten()
        down[there, depth[there] - steps] = way[there]
    shared = (down[at].unsqueeze(1) == down).cumprod(2).sum(2)
    own = (depth[at] + 1).unsqueeze(1)
    return own - torch.minimum(shared, own)


def greedy(
    trees: TreeEnsemble, rows: tuple[Tensor, Tensor], domain: tuple[Tensor, Tensor], judge: Judge,
    spread: Tensor, count: int, rng: Generator,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The best of `count` greedy descents: (N, D) points and (N,) sizes, inf where none began.

    Starts are the nearest rows of a pool where the goal holds, at most half of them, and normal
    noise; both are bisected towards the clean rows, or set back to them column by column where not
    all rows are valid.

    Args:
        trees: the ensemble.
        rows: (N, D) clean rows, and a pool (P, D) of others.
        domain: smallest and largest allowed values, (N, D) each.
        judge: the goal, the size of changes, and what is valid.
        spread: (D,) one unit of every feature.
        count: descents of every row.
        rng: draws the noise.
    """
    x, pool = rows
    start, owner = _beginnings(trees, x, pool, domain, judge, (spread, count), rng)

    def of_start(sums: Tensor, which: Tensor) -> Tensor:
        return judge.reached(sums, owner[which])

    clean, part = x[owner], (domain[0][owner], domain[1][owner])
    ends = descend(trees, clean, start, part, replace(judge, reached=of_start))
    near, place = _least(judge.measured(ends - clean), owner, len(x))
    best, found = x.clone(), near.isfinite()
    best[found] = ends[place[found]]
    return best, near


def _beginnings(
    trees: TreeEnsemble, x: Tensor, pool: Tensor, domain: tuple[Tensor, Tensor], judge: Judge,
    noise: tuple[Tensor, int], rng: Generator,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(M, D) valid points where the goal holds, and (M,) the row each is for."""
    (spread, count), each = noise, torch.arange(len(x))
    some = min(count - count // 2, len(pool))
    told = trees.sums(pool).repeat(len(x), 1)
    holds = judge.reached(told, each.repeat_interleave(len(pool))).view(len(x), len(pool))
    apart = torch.cdist(x / spread, pool / spread, p=1).masked_fill(~holds, torch.inf)
    others = pool[apart.topk(some, 1, largest=False).indices.flatten()]
    drawn = torch.empty(len(x) * (count - some), x.shape[1], device=rng.device)
    drawn = drawn.normal_(generator=rng).cpu()
    owner = torch.cat([each.repeat_interleave(some), each.repeat_interleave(count - some)])
    clean = x[owner]
    far = torch.cat([others, clean[len(others) :] + spread * drawn])
    far = torch.minimum(torch.maximum(far, domain[0][owner]), domain[1][owner])
    far = far if judge.snap is None else judge.snap(far)
    holds = judge.reached(trees.sums(far), owner)
    far, clean, owner = far[holds], clean[holds], owner[holds]
    if judge.snap is None:
        for _ in range(HALVINGS):
            middle = (far + clean) / 2
            holds = judge.reached(trees.sums(middle), owner).unsqueeze(1)
            far, clean = torch.where(holds, middle, far), torch.where(holds, clean, middle)
        return far, owner
    for _ in range(RESETS):  # between valid rows there is no line: some columns go back instead
        drawn = torch.empty(far.shape, device=rng.device).uniform_(generator=rng).cpu()
        back = judge.snap(torch.where(drawn < RESET, clean, far))
        holds = judge.reached(trees.sums(back), owner)
        holds &= judge.measured(back - clean) < judge.measured(far - clean)
        far = torch.where(holds.unsqueeze(1), back, far)
    at = trees.place[trees.leaves(far)]  # rounding may have left the domain: what of it is valid?
    low = torch.maximum(trees.low[at].amax(1), domain[0][owner])
    high = torch.minimum(trees.high[at].amin(1), domain[1][owner])
    there = judge.nearest(clean, low, high)[1] & (low <= high).all(1)
    return far[there], owner[there]
