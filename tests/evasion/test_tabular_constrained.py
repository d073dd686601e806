"""Constrained attacks on tables: exact on small ones, valid always, and stronger than chance."""

from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from holdfast.core.constraints import Table
from holdfast.core.goal import AwayFrom, ToClass
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.data.opening import open_data
from holdfast.data.split import Split
from holdfast.data.tables import constrain
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.hop_skip_jump import HopSkipJump
from holdfast.evasion.attacks.pgd import PGD
from holdfast.evasion.attacks.tabular_constrained import TabularConstrained
from holdfast.ops.balls import Norm
from holdfast.targets.constrained import constrained
from holdfast.targets.torch import TorchClassifier
from holdfast.targets.training import ClassifierRecipe
from tests import oracles
from tests.toys import LinearTarget

METHOD = TabularConstrained()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_on_two_classes_it_finds_the_minimum(norm: Norm) -> None:
    """With more classes cross-entropy does not point at the nearest: on average within 5 %."""
    oracles.check_minimum(METHOD, norm, *oracles.two_class())
    target, x = oracles.problem()
    got = attack(METHOD, target, x, AwayFrom(target.answer(x)), Budget(norm, torch.inf), Run())
    assert got.success.all()
    assert float((got.distance / target.distance(x, norm)).mean()) < 1.05


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_targeted_and_masked_runs_reach_the_minimum(norm: Norm) -> None:
    oracles.check_targeted(METHOD, norm, slack=0.01)
    oracles.check_masked(METHOD, norm, slack=0.01)


def test_what_matters_moves_less_and_the_weighted_norm_is_the_smallest() -> None:
    """In units of scale s the distance to a hyperplane w is gap / |w s|, along w s^2."""
    target, x = oracles.two_class((8,))
    importance = torch.tensor([1.0, 4, 1, 1, 0.5, 1, 1, 1])
    weighted = replace(target, space=Box(scale=1 / importance))
    got = attack(METHOD, weighted, x, AwayFrom(target.answer(x)), Budget("l2", torch.inf), Run())
    raw, w = target.scores(x), target.weight[:, 0] - target.weight[:, 1]
    gap = (raw[:, 0] - raw[:, 1]).abs()
    least = gap / (w / importance).norm()
    torch.testing.assert_close(got.distance, least, rtol=5e-3, atol=0)
    want = (w / importance**2).abs()
    moved = (got.x - x).abs()
    torch.testing.assert_close(
        moved / moved.sum(1, keepdim=True), (want / want.sum()).expand_as(moved), atol=5e-3, rtol=0
    )


def test_two_steps_by_hand() -> None:
    """r_1 = rate_0 (s u); then s grows by a tenth, and r_2 = r_1 + rate_1 (1.1 s u - r_1)."""
    target = LinearTarget.two_class(features=4)
    x = torch.full((1, 4), 0.1)
    method = TabularConstrained(steps=3, reach=0.2, pace=0.1, rate=0.5)
    goal, free = AwayFrom(torch.tensor([0])), Budget("l2", torch.inf)
    search = method.run(target, x, goal, free, torch.Generator())
    seen = [next(search).x] + [search.send(None).x for _ in range(2)]
    u = 0.5  # the unit step towards a larger mean, per feature
    rates = [0.5 * (0.55 + 0.45 * c) for c in (1.0, 0.5)]
    first = rates[0] * 0.2 * u
    second = first + rates[1] * (0.22 * u - first)
    for got, want in zip(seen, (0, first, second), strict=True):
        torch.testing.assert_close(got, torch.full((1, 4), 0.1 + want))


def small(seed: int) -> tuple[LinearTarget, Table, Tensor]:
    """A linear model on a table of 3 * 2 * 6 * 6 valid rows, one of the columns immutable."""
    names = ("a=1", "a=2", "a=3", "b=1", "b=2", "n", "m", "k")
    high = torch.tensor([1.0, 1, 1, 1, 1, 5, 5, 1])
    space = Table.of(
        names, Box(torch.zeros(8), high, high), integers=("n", "m"), immutable=("k",), rise=("m",)
    )
    rng = torch.Generator().manual_seed(seed)
    weight = torch.randn(8, 2, generator=rng) / high[:, None] * 4
    target = LinearTarget(weight, torch.zeros(2), space)
    x = space.snap(high * torch.rand(40, 8, generator=rng))
    return replace(target, bias=-target.scores(x).mean(0)), space, x


def every_row(like: Tensor) -> Tensor:
    """All valid rows that share the immutable column of `like` (8,)."""
    eye3, eye2 = torch.eye(3).tolist(), torch.eye(2).tolist()
    rows = [
        [*a, *b, n, m, float(like[7])] for a, b, n, m in product(eye3, eye2, range(6), range(6))
    ]
    return torch.tensor(rows)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_among_all_valid_rows_it_finds_the_nearest_or_one_that_is_little_farther(
    norm: Norm,
) -> None:
    """Counted out: every row that can fall does, none nearer than the minimum of all valid rows.

    On average the distances are 1.0 (linf), 1.1 (l2) and 1.17 (l1) times the minimum: rounding is
    coarse where a column has six values.
    """
    ratios, fell, could = [], 0, 0
    for seed in range(3):
        target, space, x = small(seed)
        x = x[:30]
        goal = AwayFrom(target.answer(x))
        got = attack(METHOD, target, x, goal, Budget(norm, torch.inf), Run())
        for i, row in enumerate(x):
            others = every_row(row)
            allowed = (others[:, 6] >= row[6]) & (target.answer(others) != goal.labels[i])
            size = space.distance(others, row.expand_as(others), norm)[allowed]
            could += len(size) > 0
            if bool(got.success[i]):
                fell += 1
                assert float(got.distance[i]) >= float(size.min()) * (1 - 1e-5)
                ratios.append(float(got.distance[i] / size.min()))
        broken = space.violations(got.x, x)
        assert not torch.stack(list(broken.values())).any()
    assert fell == could
    assert sum(ratios) / len(ratios) < {"linf": 1.01, "l2": 1.15, "l1": 1.25}[norm]


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10**6), eps=st.floats(0.05, 2), norm=st.sampled_from(["linf", "l2", "l1"])
)
def test_every_row_of_any_attack_keeps_every_rule_and_the_budget(
    seed: int, eps: float, norm
) -> None:
    target, space, x = small(seed)
    x = x[:6]
    goal, budget, run = AwayFrom(target.answer(x)), Budget(norm, eps), Run(queries=200)
    for method in (TabularConstrained(steps=8), PGD(steps=8), HopSkipJump(iterations=2)):
        if norm in method.measures:
            for model in (target, constrained(target, space)):
                got = attack(method, model, x, goal, budget, run)
                assert not torch.stack(list(space.violations(got.x, x).values())).any()
                assert (got.distance <= eps * (1 + 1e-4) + 1e-6).all()
                assert torch.equal(got.success, target.answer(got.x) != goal.labels)


def net(columns: int) -> nn.Module:
    """Batch normalisation stands for scaled columns."""
    return nn.Sequential(
        nn.BatchNorm1d(columns), nn.Linear(columns, 32), nn.ReLU(), nn.Linear(32, 2)
    )


@dataclass(frozen=True)
class Fit:
    """A trained net on a table under rules, and held-out rows that it gets right."""

    target: TorchClassifier
    space: Table
    x: Tensor
    y: Tensor

    def goal(self) -> AwayFrom:
        return AwayFrom(self.y)


def fitted(split: Split) -> Fit:
    columns = len(split.train.columns)
    recipe = ClassifierRecipe(lambda: net(columns), epochs=12)
    space = split.train.space
    assert isinstance(space, Table)
    target = TorchClassifier(recipe.train(split.train, 0).module, space)
    right = target.answer(split.test.tensor) == split.test.y
    x, y = split.test.tensor[right][:80], split.test.y[right][:80]
    assert space.contains(x).all()
    return Fit(target, space, x, y)


@pytest.fixture(scope="module")
def german(shared_data: Path, tmp_path_factory) -> Fit:
    """German credit: what age, sex and origin are cannot be changed, residence only grows."""
    folder = shared_data / "german-credit"
    names = (folder / "columns.txt").read_text().split()
    rows = [line.split() for line in (folder / "german.data").read_text().splitlines()]
    path = tmp_path_factory.mktemp("german") / "german.csv"
    path.write_text("\n".join(",".join(row) for row in [names, *rows]))
    fixed = ("age", "personal_status_sex", "foreign_worker")
    split = open_data(str(path), label="class")
    ruled = constrain(split, immutable=fixed, rise=("residence_since",), costs={"purpose": 2.0})
    assert len(ruled.train.space.rules.groups) == 13
    assert ruled.train.space.rules.integers.sum() == 7
    return fitted(ruled)


@pytest.fixture(scope="module")
def cancer() -> Fit:
    """Breast cancer: the mean texture cannot be changed, the mean radius only grows."""
    split = open_data("breast-cancer")
    return fitted(
        constrain(split, immutable=("mean texture",), rise=("mean radius",), fall=("worst area",))
    )


@pytest.mark.data
def test_on_german_credit_rows_are_valid_fall_more_than_by_chance_and_plain_pgd_breaks_the_rules(
    german: Fit,
) -> None:
    _check(german, Budget("l1", 2.5), broken=("integers", "categories", "immutable"))


def test_on_breast_cancer_likewise(cancer: Fit) -> None:
    _check(cancer, Budget("linf", 0.15), broken=("immutable", "fall"))


def _check(fit: Fit, budget: Budget, broken: tuple[str, ...]) -> None:
    goal, space = fit.goal(), fit.space
    got = attack(METHOD, fit.target, fit.x, goal, budget, Run())
    assert not torch.stack(list(space.violations(got.x, fit.x).values())).any()
    drawn = space.random(fit.x, budget, torch.Generator().manual_seed(0))
    chance = (fit.target.answer(drawn) != fit.y).float().mean()
    share = got.success.float().mean()
    box = Box(space.low, space.high, space.scale)
    free = attack(PGD(), replace(fit.target, space=box), fit.x, goal, budget, Run())
    told = space.violations(free.x[free.success], fit.x[free.success])
    pgd = attack(PGD(), constrained(fit.target, space), fit.x, goal, budget, Run())
    assert pgd.success.float().mean() > chance + 0.2
    assert not torch.stack(list(space.violations(pgd.x, fit.x).values())).any()
    assert share > chance + 0.2
    assert float(free.success.float().mean()) > 0.2
    for rule in broken:
        assert told[rule].float().mean() > 0.5, rule


def test_hop_skip_jump_behind_the_rules_beats_chance_with_answers_alone(cancer: Fit) -> None:
    space, budget = cancer.space, Budget("linf", 0.15)
    x, goal = cancer.x[:30], cancer.goal().take(torch.arange(30))
    got = attack(
        HopSkipJump(), constrained(cancer.target, space), x, goal, budget, Run(queries=300)
    )
    drawn = space.random(x, budget, torch.Generator().manual_seed(0))
    chance = (cancer.target.answer(drawn) != goal.labels).float().mean()
    assert got.success.float().mean() > chance + 0.3
    assert not torch.stack(list(space.violations(got.x, x).values())).any()


def test_what_a_form_makes_valid_is_charged_when_it_is_asked_again() -> None:
    """PGD's relaxed points are not valid: each candidate costs one more answer about a valid row."""
    target, space, x = small(0)
    goal, budget = AwayFrom(target.answer(x)), Budget("l2", 0.01)
    plain = replace(target, space=Box(space.low, space.high, space.scale))
    few = attack(PGD(steps=3), plain, x, goal, budget, Run())
    more = attack(PGD(steps=3), target, x, goal, budget, Run())
    assert few.forwards == 4 * len(x)
    assert 7 * len(x) < more.forwards <= 8 * len(x)  # a few of them are valid as they are
    own = attack(TabularConstrained(steps=3, halvings=0), target, x, goal, budget, Run())
    assert own.forwards == 3 * len(x)


def test_towards_a_class_on_a_real_table(cancer: Fit) -> None:
    goal = ToClass(1 - cancer.y)
    got = attack(METHOD, cancer.target, cancer.x, goal, Budget("l2", torch.inf), Run())
    assert (cancer.target.answer(got.x[got.success]) == goal.labels[got.success]).all()
    assert got.success.float().mean() > 0.9
    assert not torch.stack(list(cancer.space.violations(got.x, cancer.x).values())).any()


def test_no_rows_and_repetition() -> None:
    target, _, x = small(0)
    goal, budget = AwayFrom(target.answer(x)), Budget("l2", torch.inf)
    first, again = (attack(METHOD, target, x, goal, budget, Run()) for _ in range(2))
    assert torch.equal(first.x, again.x)
    assert len(attack(METHOD, target, x[:0], goal.take(torch.arange(0)), budget, Run()).x) == 0
