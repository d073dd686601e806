"""Tables under rules: what is projected or drawn is valid, in the budget, and as near as it can be."""

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from holdfast.core.constraints import Table
from holdfast.core.errors import InputError
from holdfast.core.space import Box, Budget

COLUMNS = (
    "age",
    "income",
    "job=clerk",
    "job=cook",
    "job=smith",
    "home=own",
    "home=rent",
    "debt",
    "years",
)
LOW = torch.tensor([18.0, 0.0, 0, 0, 0, 0, 0, -5.0, 0.0])
HIGH = torch.tensor([90.0, 100.0, 1, 1, 1, 1, 1, 5.0, 40.0])


def table(**more) -> Table:
    return Table.of(COLUMNS, Box(LOW, HIGH, HIGH - LOW), **more)


FULL = table(
    integers=("age", "years"),
    immutable=("home",),
    rise=("age",),
    fall=("debt",),
    costs={"job": 0.5},
)


def rows(n: int, seed: int = 0) -> Tensor:
    """Valid rows anywhere in the box."""
    rng = torch.Generator().manual_seed(seed)
    x = LOW + (HIGH - LOW) * torch.rand(n, len(COLUMNS), generator=rng)
    return FULL.snap(x)


def test_names_become_categories_masks_and_scales() -> None:
    assert FULL.rules.groups == ((2, 3, 4), (5, 6))
    assert FULL.editable.tolist() == [True] * 5 + [False, False] + [True, True]
    assert FULL.rules.integers.nonzero().flatten().tolist() == [0, 8]
    assert FULL.scale.tolist() == [72.0, 100.0, 2.0, 2.0, 2.0, 1.0, 1.0, 10.0, 40.0]


def test_what_a_row_breaks_is_said_rule_by_rule() -> None:
    good = torch.tensor([[30.0, 50, 0, 1, 0, 1, 0, 0.0, 3]])
    assert FULL.contains(good).all()
    bad = {
        "bounds": {1: 101.0},
        "integers": {8: 3.5},
        "categories": {4: 1.0},
        "immutable": {5: 0.0, 6: 1.0},
        "rise": {0: 29.0},
        "fall": {7: 0.5},
    }
    for rule, change in bad.items():
        x = good.clone()
        for column, value in change.items():
            x[0, column] = value
        told = FULL.violations(x, good)
        assert [name for name, hit in told.items() if hit.any()] == [rule]
    half = good.clone()
    half[0, 2:4] = 0.5
    none = good.clone()
    none[0, 3] = 0
    assert not FULL.contains(torch.cat([half, none])).any()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    eps=st.floats(0.0, 3.0),
    measure=st.sampled_from(["linf", "l2", "l1", "l0", "any"]),
    far=st.floats(0.01, 10),
)
def test_projections_and_draws_are_valid_in_the_budget_and_stay_where_they_are(
    seed: int, eps: float, measure, far: float
) -> None:
    around, rng = rows(6, seed), torch.Generator().manual_seed(seed)
    budget = Budget(measure, eps)
    wild = around + far * (HIGH - LOW) * torch.randn(around.shape, generator=rng)
    for x in (FULL.project(wild, around, budget), FULL.random(around, budget, rng)):
        assert not torch.stack(list(FULL.violations(x, around).values())).any()
        assert (FULL.distance(x, around, measure) <= eps * (1 + 1e-4) + 1e-6).all()
        again = FULL.project(x, around, budget)
        torch.testing.assert_close(again, x, rtol=1e-5, atol=1e-4)
        whole = [0, 2, 3, 4, 5, 6, 8]
        assert torch.equal(again[:, whole], x[:, whole])
    relaxed = FULL.relaxed.project(wild, around, budget)
    broken = FULL.violations(relaxed, around)
    assert not (broken["bounds"] | broken["immutable"] | broken["rise"] | broken["fall"]).any()


def test_a_change_of_category_counts_once() -> None:
    plain = table()
    a, b = rows(1), rows(1)
    b[:, 2:5] = a[:, 2:5].roll(1, 1)
    for measure in ("linf", "l2", "l1", "l0"):
        assert float(plain.distance(a, b, measure)) == 1
    assert float(FULL.distance(a, b, "l1")) == 0.5
    assert float(FULL.distance(a, b, "l0")) == 1
    b[:, 1] += torch.where(a[:, 1] > 50, -30.0, 30.0)
    assert float(plain.distance(a, b, "l1")) == pytest.approx(1.3)
    assert float(plain.distance(a, b, "l2")) == pytest.approx(1.09**0.5)


def test_whole_numbers_are_rounded_towards_the_clean_row() -> None:
    clean = torch.tensor([[30.0, 50, 0, 1, 0, 1, 0, 0.0, 10]]).repeat(3, 1)
    wild = clean.clone()
    wild[:, 8] = torch.tensor([12.9, 7.1, 10.6])
    got = table(integers=("years",)).project(wild, clean, Budget("linf", 1.0))
    assert got[:, 8].tolist() == [12, 8, 10]


def test_the_strongest_categories_get_the_budget_first_and_the_rest_of_it_the_numbers() -> None:
    plain = table()
    clean = torch.tensor([[30.0, 50, 0, 1, 0, 1, 0, 0.0, 10]])
    wild = clean.clone()
    wild[0, [4, 6]] = torch.tensor([3.0, 2.0])
    wild[0, 1] = 100.0
    one = plain.project(wild, clean, Budget("l1", 1.2))
    assert one[0].tolist() == pytest.approx([30, 70, 0, 0, 1, 1, 0, 0, 10])
    both = plain.project(wild, clean, Budget("l2", 1.5))
    assert both[0, 2:7].tolist() == [0, 0, 1, 0, 1]
    assert float(both[0, 1]) == pytest.approx(50 + 100 * 0.25**0.5)
    few = plain.project(wild, clean, Budget("l0", 2.0))
    assert few[0].tolist() == [30, 50, 0, 0, 1, 0, 1, 0, 10]
    none = plain.project(wild, clean, Budget("linf", 0.9))
    assert none[0, 2:7].tolist() == clean[0, 2:7].tolist()
    assert float(none[0, 1]) == 100.0


def test_without_rules_a_table_is_a_box() -> None:
    plain = Table.of([str(i) for i in range(5)], Box())
    rng = torch.Generator().manual_seed(0)
    around = torch.rand(20, 5, generator=rng)
    wild = around + torch.randn(20, 5, generator=rng)
    for measure in ("linf", "l2", "l1", "l0"):
        budget = Budget(measure, 1.0 if measure != "linf" else 0.2)
        for space in (plain, plain.relaxed):
            got = space.project(wild, around, budget)
            assert plain.contains(got).all()
            assert (Box().distance(got, around, measure) <= budget.eps * 1.0001).all()
            if measure in ("linf", "l1"):
                torch.testing.assert_close(got, Box().project(wild, around, budget))


def test_random_rows_try_every_value_of_a_category_that_may_change() -> None:
    around = rows(1).repeat(600, 1)
    drawn = table().random(around, Budget("linf", 1.0), torch.Generator().manual_seed(0))
    assert (drawn[:, 2:5].mean(0) - 1 / 3).abs().max() < 0.08
    held = FULL.random(around, Budget("linf", 1.0), torch.Generator().manual_seed(0))
    assert torch.equal(held[:, 5:7], around[:, 5:7])


def test_wrong_names_and_settings_are_said_in_words() -> None:
    with pytest.raises(InputError, match="did you mean income"):
        table(immutable=("incom",))
    with pytest.raises(InputError, match="has no order"):
        table(rise=("job",))
    with pytest.raises(InputError, match="above zero"):
        table(costs={"age": 0.0})


def test_a_table_travels_between_processes() -> None:
    x = rows(3)
    assert FULL.relaxed.strict is FULL
    again = pickle.loads(pickle.dumps(FULL))
    assert torch.equal(again.relaxed.within(x, x), x)
    assert again.rules.groups == FULL.rules.groups
