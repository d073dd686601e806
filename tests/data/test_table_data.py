"""CSV and Parquet tables, real and written by the tests."""

import builtins
import gzip
from pathlib import Path

import pytest
import torch

from holdfast.core.errors import InputError, MissingExtra
from holdfast.data import open_data

CSV = """age,colour,sex,paid
30,red,f,no
40, blue,m,yes
50,red,m,no
60,green,f,yes
70,red,f,no
80,blue,m,yes
"""


def _write(folder: Path, text: str = CSV, name: str = "people.csv") -> str:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return str(path)


def _parquet(folder: Path) -> str:
    import pandas as pd

    frame = pd.DataFrame({
        "age": [30, 40, 50, 60, 70, 80],
        "colour": pd.Categorical(["red", "blue", "red", "green", "red", "blue"]),
        "sex": list("fmmffm"), "paid": ["no", "yes"] * 3,
    })  # fmt: skip
    frame.to_parquet(folder / "people.parquet")
    return str(folder / "people.parquet")


@pytest.mark.parametrize("form", ["csv", "csv.gz", "parquet"])
def test_texts_become_one_column_a_value_and_sensitive_columns_become_groups(
    tmp_path, form: str
) -> None:
    path = _parquet(tmp_path) if form == "parquet" else _write(tmp_path, name=f"people.{form}")
    split = open_data(path, label="paid", sensitive=("sex",))
    assert split.train.columns == ("age", "colour=blue", "colour=green", "colour=red")
    assert split.train.classes == ("no", "yes")
    assert split.values == {"sex": ("f", "m")}
    rows = {}
    for part in (split.train, split.test):
        for x, y, sex in zip(part.tensor, part.y, part.groups["sex"], strict=True):
            rows[int(x[0])] = (x[1:].tolist(), int(y), int(sex))
    assert rows == {
        30: ([0, 0, 1], 0, 0), 40: ([1, 0, 0], 1, 1), 50: ([0, 0, 1], 0, 1),
        60: ([0, 1, 0], 1, 0), 70: ([0, 0, 1], 0, 0), 80: ([1, 0, 0], 1, 1),
    }  # fmt: skip
    assert (len(split.train), len(split.test)) == (4, 2)
    assert split.train.name == "people"
    assert split.train.space.contains(split.test.tensor).all()


def test_a_column_that_never_varies_cannot_move_and_divides_nothing_by_zero(tmp_path) -> None:
    split = open_data(_write(tmp_path, "a,b,y\n1,5,0\n2,5,1\n3,5,0\n4,5,1\n"), label="y")
    space = split.train.space
    assert (space.low[1], space.high[1], space.scale[1]) == (5, 5, 1)
    distance = space.distance(
        split.train.tensor, split.train.tensor + torch.tensor([1.0, 0]), "linf"
    )
    assert distance.isfinite().all()


def test_numeric_labels_are_numbered_in_numeric_order(tmp_path) -> None:
    split = open_data(_write(tmp_path, "a,y\n1,10\n2,9\n3,100\n4,9\n"), label="y")
    assert split.train.classes == ("9", "10", "100")


@pytest.mark.parametrize(
    ("text", "given", "says"),
    [
        (CSV, {}, "which column holds the class.*--label with one of: age, colour, sex, paid"),
        (CSV, {"label": "payed"}, "no such column: got 'payed'; did you mean paid"),
        (CSV, {"label": "q"}, "it has age, colour, sex, paid"),
        (CSV, {"label": "paid", "sensitive": ("sexe",)}, "no such column.*did you mean sex"),
        (CSV, {"label": "paid", "sensitive": ("paid",)}, "no sensitive column"),
        (CSV.replace("40,", ","), {"label": "paid"}, "no value in data row 2, column 'age'"),
        (CSV.replace("green", ""), {"label": "paid"}, "no value in data row 4, column 'colour'"),
        (CSV.replace("yes", "no"), {"label": "paid"}, "one class only, 'no'"),
        ("a,y\n", {"label": "y"}, "has no rows"),
        ("", {"label": "y"}, "cannot be read as a table"),
        ("a,y\n1,2,3,4\n1,2\n", {"label": "y"}, "cannot be read as a table"),
        ("y\n1\n2\n3\n", {"label": "y"}, "no columns left"),
        ("a,y\n1e300,0\n2,1\n3,0\n", {"label": "y"}, "data row 1, column 'a'"),
        ("a,y\ninf,0\n2,1\n3,0\n", {"label": "y"}, "data row 1, column 'a'"),
        (
            "a,y\n" + "".join(f"name{i},{i % 2}\n" for i in range(300)), {"label": "y"},
            "column 'a' is neither a number nor a category: got 300 different",
        ),
        (
            "a,g,y\n" + "".join(f"{i},{i},{i % 2}\n" for i in range(30)),
            {"label": "y", "sensitive": ("g",)}, "too many groups: got 30",
        ),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_used_is_refused(tmp_path, text: str, given, says: str) -> None:
    with pytest.raises(InputError, match=says):
        open_data(_write(tmp_path, text), **given)


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet"])
def test_bytes_that_are_no_table_are_refused(tmp_path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xff\xfe\x00\x81 no table")
    with pytest.raises(InputError, match="cannot be read"):
        open_data(str(tmp_path / name), label="y")


def test_dates_are_refused_with_the_name_of_their_column(tmp_path) -> None:
    import pandas as pd

    path = tmp_path / "t.parquet"
    when = pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-03"])
    pd.DataFrame({"when": when, "y": [0, 1, 0]}).to_parquet(path)
    with pytest.raises(InputError, match="column 'when' is neither"):
        open_data(str(path), label="y")


def test_without_pandas_the_extra_is_named(tmp_path, monkeypatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: object, **kwargs: object) -> object:
        if name == "pandas":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    path = _write(tmp_path)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"pip install 'holdfast\[tables\]'"):
        open_data(path, label="paid")


@pytest.mark.data
def test_clamp_has_the_published_counts(shared_data: Path) -> None:
    path = shared_data / "clamp-pe" / "ClaMP_Integrated.csv.gz"
    split = open_data(str(path), label="class", sensitive=())
    y = torch.cat([split.train.y, split.test.y])
    assert y.bincount().tolist() == [2488, 2722]
    packers = [name for name in split.train.columns if name.startswith("packer_type=")]
    assert len(split.train.columns) == 68 + len(packers)
    both = torch.cat([split.train.tensor, split.test.tensor])
    at = [split.train.columns.index(name) for name in packers]
    assert torch.equal(both[:, at].sum(1), torch.ones(5210))


@pytest.mark.data
def test_compas_groups_have_the_published_counts(shared_data: Path, tmp_path) -> None:
    import pandas as pd

    frame = pd.read_csv(shared_data / "compas" / "compas-scores-two-years.csv.gz")
    kept = ["sex", "race", "age", "priors_count", "c_charge_degree", "two_year_recid"]
    frame[kept].to_csv(tmp_path / "compas.csv", index=False)
    split = open_data(
        str(tmp_path / "compas.csv"), label="two_year_recid", sensitive=("race", "sex")
    )
    race = torch.cat([split.train.groups["race"], split.test.groups["race"]]).bincount().tolist()
    counts = dict(zip(split.values["race"], race, strict=True))
    assert counts == {
        "African-American": 3696, "Caucasian": 2454, "Hispanic": 637, "Other": 377,
        "Asian": 32, "Native American": 18,
    }  # fmt: skip
    assert split.train.columns == ("age", "priors_count", "c_charge_degree=F", "c_charge_degree=M")


@pytest.mark.data
def test_the_empty_cells_of_compas_are_told_by_row_and_column(shared_data: Path) -> None:
    path = shared_data / "compas" / "compas-scores-two-years.csv.gz"
    with pytest.raises(InputError, match=r"empty cells: got no value in data row 1, column"):
        open_data(str(path), label="two_year_recid")
