"""Data sets by name, and what an unknown name is told."""

import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits

from holdfast.core.errors import InputError
from holdfast.data import open_data


def _rows(x: torch.Tensor) -> list[tuple[float, ...]]:
    return sorted(tuple(row) for row in x.flatten(1).tolist())


def test_digits_are_the_images_of_scikit_learn_divided_by_16() -> None:
    split = open_data("digits")
    assert split.train.tensor.shape == (1198, 1, 8, 8)
    assert split.test.tensor.shape == (599, 1, 8, 8)
    assert split.train.classes == tuple("0123456789")
    both = torch.cat([split.train.tensor, split.test.tensor])
    assert _rows(both * 16) == sorted(tuple(row) for row in load_digits().data.tolist())
    assert both.min() == 0
    assert both.max() == 1


def test_every_row_keeps_its_own_label_through_the_shuffle() -> None:
    raw = load_breast_cancer()
    label = {tuple(x.astype("float32")): int(y) for x, y in zip(raw.data, raw.target, strict=True)}
    split = open_data("breast-cancer", seed=3)
    for part in (split.train, split.test):
        told = [label[tuple(row.numpy())] for row in part.tensor]
        assert told == part.y.tolist()
    assert split.train.classes == ("malignant", "benign")
    assert split.train.columns[0] == "mean radius"
    assert split.train.tensor.shape == (379, 30)


def test_the_seed_alone_decides_the_split() -> None:
    first, again, other = (open_data("digits", seed=seed) for seed in (1, 1, 2))
    assert first.train.digest == again.train.digest
    assert first.test.digest == again.test.digest
    assert first.train.digest != other.train.digest
    assert sorted(first.train.y.tolist()) != first.train.y.tolist()


def test_a_table_counts_change_in_ranges_of_the_training_rows_and_holds_all_rows() -> None:
    split = open_data("breast-cancer")
    space, train = split.train.space, split.train.tensor
    torch.testing.assert_close(space.scale, train.amax(0) - train.amin(0))
    assert space.contains(train).all()
    assert space.contains(split.test.tensor).all()
    assert not space.contains(train.amax(0, keepdim=True) * 2).any()
    inside = (split.test.tensor >= train.amin(0)) & (split.test.tensor <= train.amax(0))
    wider = (space.low < train.amin(0)) | (space.high > train.amax(0))
    assert torch.equal(wider, ~inside.all(0))  # wider only where a test row needs it


def test_a_name_with_a_slip_is_told_the_nearest_one() -> None:
    with pytest.raises(InputError, match=r"no data set has this name: got digit; .*digits\?"):
        open_data("digit")
    with pytest.raises(InputError, match=r"names are digits, breast-cancer"):
        open_data("zzz")


def test_a_path_with_a_slip_is_told_the_nearest_file(tmp_path) -> None:
    (tmp_path / "people.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"no data set is there.*did you mean people\.csv\?"):
        open_data(str(tmp_path / "poeple.csv"))
    with pytest.raises(InputError, match=r"check the path"):
        open_data("./nowhere/at/all")


def test_a_file_of_no_known_format_is_told_the_known_ones(tmp_path) -> None:
    (tmp_path / "rows.xlsx").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"no known format.*\.parquet"):
        open_data(str(tmp_path / "rows.xlsx"))


def test_label_and_sensitive_columns_are_refused_where_there_are_none() -> None:
    with pytest.raises(InputError, match="only tables"):
        open_data("digits", label="y")
    with pytest.raises(InputError, match="only tables"):
        open_data("breast-cancer", sensitive=("age",))
