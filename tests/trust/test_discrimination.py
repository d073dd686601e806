"""Fairness against a hand-made table, planted disparity and the known rates of COMPAS."""

import csv
import gzip
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError, NotApplicable
from holdfast.core.record import ThreatModel
from holdfast.core.run import Run
from holdfast.core.space import Box
from holdfast.engine.case import Case, Evidence
from holdfast.engine.measure import assess

pytest.importorskip("fairlearn")
from holdfast.trust.tests.discrimination import Discrimination, gaps


@dataclass(frozen=True)
class Threshold:
    """Answers 1 where the first column is at least `level`."""

    level: float
    space: Box = field(default_factory=Box)

    def answer(self, x: Tensor) -> Tensor:
        return (x[:, 0] >= self.level).long()


def run(data: Dataset, level: float = 0.5, **params: int) -> Evidence:
    return assess(
        Discrimination(**params), Case(Threshold(level), data, ThreatModel("Answers")), Run()
    )


def find(got: Evidence, name: str, part: str) -> float:
    return next(m.value for m in got.measurements if (m.name, m.part) == (name, part))


def table(**cells: tuple[int, int, int, int]) -> Dataset:
    """Rows by group: (true negatives, false positives, false negatives, true positives)."""
    answer, truth, group = [], [], []
    for code, counts in enumerate(cells.values()):
        for (y, got), n in zip([(0, 0), (0, 1), (1, 0), (1, 1)], counts, strict=True):
            answer += [got] * n
            truth += [y] * n
            group += [code] * n
    x = torch.tensor(answer, dtype=torch.float32)[:, None]
    return Dataset(
        "table", x, torch.tensor(truth), ("no", "yes"), groups={"sex": torch.tensor(group)}
    )


def test_a_table_made_by_hand_gives_the_rates_worked_out_by_hand() -> None:
    got = run(table(a=(30, 10, 5, 55), b=(45, 5, 20, 30)))
    assert find(got, "selection rate", "sex=0") == pytest.approx(65 / 100)
    assert find(got, "selection rate", "sex=1") == pytest.approx(35 / 100)
    assert find(got, "true positive rate", "sex=0") == pytest.approx(55 / 60)
    assert find(got, "false positive rate", "sex=1") == pytest.approx(5 / 50)
    assert find(got, "demographic parity difference", "sex") == pytest.approx(0.30)
    # true positives differ by 55/60 - 30/50 = 0.3167, false ones by 10/40 - 5/50 = 0.15
    assert find(got, "equalized odds difference", "sex") == pytest.approx(55 / 60 - 0.6)


def test_our_vectorised_differences_are_those_of_fairlearn() -> None:
    rng = torch.Generator().manual_seed(0)
    for _ in range(5):
        counts = torch.randint(20, 90, (2, 4), generator=rng).tolist()
        got = run(table(a=tuple(counts[0]), b=tuple(counts[1])))
        tables = torch.tensor(counts).reshape(1, 2, 2, 2).numpy()
        parity, odds = gaps(tables)
        assert parity[0] == pytest.approx(find(got, "demographic parity difference", "sex"))
        assert odds[0] == pytest.approx(find(got, "equalized odds difference", "sex"))


def test_the_interval_is_as_wide_as_the_normal_one_where_both_groups_are_large() -> None:
    got = run(table(a=(400, 600, 400, 600), b=(600, 400, 600, 400)))
    gap = next(m for m in got.measurements if m.name == "demographic parity difference")
    half = 1.96 * (2 * 0.6 * 0.4 / 2000) ** 0.5
    assert gap.value == pytest.approx(0.2)
    assert gap.low == pytest.approx(0.2 - half, abs=0.006)
    assert gap.high == pytest.approx(0.2 + half, abs=0.006)


def test_a_planted_disparity_is_found_and_a_fair_attribute_is_not() -> None:
    rng = torch.Generator().manual_seed(1)
    n = 4000
    group = torch.randint(2, (n,), generator=rng)
    other = torch.randint(2, (n,), generator=rng)
    truth = torch.randint(2, (n,), generator=rng)
    chance = 0.2 + 0.5 * truth + 0.25 * group  # selected more often in group 1, whatever the truth
    x = (torch.rand(n, generator=rng) < chance).float()[:, None]
    groups = {"planted": group, "fair": other}
    got = run(Dataset("planted", x, truth, ("no", "yes"), groups=groups))
    for name in ("demographic parity difference", "equalized odds difference"):
        planted = next(m for m in got.measurements if (m.name, m.part) == (name, "planted"))
        assert planted.low < 0.25 < planted.high
        assert find(got, name, "fair") < 0.06


def test_small_groups_are_refused_and_named() -> None:
    data = table(a=(30, 10, 5, 55), b=(45, 5, 20, 30), c=(10, 5, 5, 9))
    got = run(data)
    assert got.notes == ("sex=2: 29 rows are too few for a rate, left out",)
    assert not any(m.part == "sex=2" for m in got.measurements)
    assert find(got, "demographic parity difference", "sex") == pytest.approx(0.30)


def test_rates_of_too_few_positives_are_refused_and_equalised_odds_with_them() -> None:
    got = run(table(a=(30, 10, 5, 55), b=(45, 5, 9, 20)))
    assert got.notes == ("positives of sex=1: 29 rows are too few for a rate, left out",)
    names = {(m.name, m.part) for m in got.measurements}
    assert ("false positive rate", "sex=1") in names
    assert ("true positive rate", "sex=1") not in names
    assert ("demographic parity difference", "sex") in names
    assert ("equalized odds difference", "sex") not in names


def test_without_groups_or_with_one_group_it_does_not_apply() -> None:
    whole = table(a=(30, 10, 5, 55), b=(1, 1, 1, 1))
    with pytest.raises(NotApplicable, match="two groups"):
        run(whole)
    plain = Dataset("plain", whole.x, whole.y, whole.classes)
    with pytest.raises(NotApplicable, match="sensitive"):
        run(plain)
    with pytest.raises(InputError, match="selected"):
        run(table(a=(30, 10, 5, 55), b=(45, 5, 20, 30)), selected=2)


def test_compas_with_the_filters_of_propublica_gives_the_known_rates(shared_data: Path) -> None:
    """Broward County, filtered as ProPublica did; a score of 5 and more counts as high risk."""
    path = shared_data / "compas" / "compas-scores-two-years.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if row["days_b_screening_arrest"]
            and -30 <= float(row["days_b_screening_arrest"]) <= 30
            and row["is_recid"] != "-1"
            and row["c_charge_degree"] != "O"
            and row["score_text"] != "N/A"
            and row["race"] in ("African-American", "Caucasian")
        ]
    assert len(rows) == 5278
    x = torch.tensor([[float(row["decile_score"])] for row in rows])
    y = torch.tensor([int(row["two_year_recid"]) for row in rows])
    race = torch.tensor([int(row["race"] == "Caucasian") for row in rows])
    got = run(Dataset("compas", x, y, ("no", "yes"), groups={"race": race}), level=5)
    expected = {
        ("false positive rate", "race=0"): 0.423, ("false positive rate", "race=1"): 0.220,
        ("true positive rate", "race=0"): 1 - 0.285, ("true positive rate", "race=1"): 1 - 0.496,
        ("selection rate", "race=0"): 0.576, ("selection rate", "race=1"): 0.331,
        ("demographic parity difference", "race"): 0.245,
        ("equalized odds difference", "race"): 0.212,
    }  # fmt: skip
    for (name, part), value in expected.items():
        assert find(got, name, part) == pytest.approx(value, abs=6e-4), (name, part)
