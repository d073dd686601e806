"""Tree ensembles as tensors: comparisons at the last bit, boxes, walks and points beyond thresholds."""

import torch

from holdfast.ops.trees import CLEAR, Judge, climbs, conditions, into, largest_left, reach
from tests.evasion.trees import by_hand, fitted


def test_thresholds_in_double_precision_split_single_precision_rows_the_same_way() -> None:
    rng = torch.Generator().manual_seed(0)
    exact = torch.randn(4000, generator=rng, dtype=torch.float64)
    exact[:2000] = exact[:2000].float().double()  # half of them are singles themselves
    near = exact.float()
    inf = torch.tensor(torch.inf)
    for x in (near, torch.nextafter(near, inf), torch.nextafter(near, -inf)):
        assert torch.equal(x <= largest_left(exact, False), x.double() <= exact)
        assert torch.equal(x <= largest_left(exact, True), x.double() < exact)


def test_points_put_into_a_box_lie_inside_and_survive_the_arithmetic_of_a_projection() -> None:
    rng = torch.Generator().manual_seed(0)
    x = 100 * torch.randn(5000, generator=rng)
    low = 100 * torch.randn(5000, generator=rng)
    high = low + torch.rand(5000, generator=rng) + 1e-3
    scale = 10 ** (4 * torch.rand(5000, generator=rng) - 2)
    point = into(x, low, high)
    again = (point - x) / scale * scale + x
    assert ((again >= low) & (again <= high)).all()
    inside = (x >= low) & (x <= high)
    assert torch.equal(point[inside], x[inside])
    nearest = torch.minimum(torch.maximum(x, low), high)
    assert ((point - nearest).abs() <= 1e-6 * (x.abs() + nearest.abs())).all()
    narrow = into(torch.zeros(1), torch.ones(1), torch.ones(1))
    assert torch.equal(narrow, torch.ones(1))
    free = into(torch.tensor([3.0]), torch.tensor([-torch.inf]), torch.tensor([torch.inf]))
    assert torch.equal(free, torch.tensor([3.0]))


def test_the_walk_through_a_tree_counts_nodes_up_to_the_common_one() -> None:
    trees = by_hand().ensemble
    want = torch.tensor([[0, 1, 2, 2], [1, 0, 2, 2], [2, 2, 0, 1], [2, 2, 1, 0]])
    assert torch.equal(climbs(trees, torch.arange(4)), want)


def test_a_climb_counts_from_where_one_starts_not_from_where_one_goes() -> None:
    """On a fitted tree: the shared part of both ways down, found by walking them one by one."""
    trees = fitted("tree", 3)[0].ensemble
    ways = []
    for leaf in range(len(trees.leaf)):
        node, way = int(trees.roots[0]), []
        point = into(torch.zeros(trees.features), trees.low[leaf], trees.high[leaf])
        while int(trees.feature[node]) >= 0:
            way.append(node)
            left = point[trees.feature[node]] <= trees.threshold[node]
            node = int(trees.left[node] if left else trees.right[node])
        ways.append(way)
    told = climbs(trees, torch.arange(len(ways)))
    for i, own in enumerate(ways):
        for j, other in enumerate(ways):
            shared = len(set(own) & set(other))
            assert told[i, j] == (len(own) - shared + 1 if i != j else 0)


def test_what_a_leaf_asks_for_is_what_its_box_says() -> None:
    trees = fitted("forest", 2)[0].ensemble
    leaf, node, left = conditions(trees)
    column, limit = trees.feature[node], trees.threshold[node]
    assert (trees.high[leaf, column][left] <= limit[left]).all()
    assert (trees.low[leaf, column][~left] > limit[~left]).all()
    # and nothing is missing: every side of a box that is not open is one of its conditions
    sides = trees.high.isfinite().sum() + trees.low.isfinite().sum()
    asked = torch.stack([leaf, column, left.long()], 1).unique(dim=0)
    assert len(asked) == sides


def test_the_reach_of_a_leaf_is_the_distance_to_its_box_within_the_domain() -> None:
    trees = by_hand().ensemble
    x = torch.tensor([[0.48, 0.3]])
    domain = (torch.zeros(1, 2), torch.tensor([[1.0, 0.5]]))
    size = reach(trees, x, domain, Judge(lambda sums, _: sums[:, 0] > 0, lambda d: d.abs().sum(1)))
    torch.testing.assert_close(
        size, torch.tensor([[0.0, torch.inf, 0.02 + 0.1, 0.02]]), atol=1e-5, rtol=0
    )
    assert CLEAR > 0
