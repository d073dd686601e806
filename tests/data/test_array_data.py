"""NumPy archives with and without a test part."""

from pathlib import Path

import numpy as np
import pytest
import torch

from holdfast.core.errors import InputError
from holdfast.data import arrays, open_data


def _save(folder: Path, **values: object) -> str:
    np.savez(folder / "rows.npz", **values)
    return str(folder / "rows.npz")


def test_a_table_is_split_and_bounded(tmp_path) -> None:
    x = np.arange(18, dtype="float64").reshape(9, 2)
    split = open_data(_save(tmp_path, x=x, y=np.arange(9) % 3 + 4))
    assert (len(split.train), len(split.test)) == (6, 3)
    assert split.train.classes == ("4", "5", "6")
    both = torch.cat([split.train.tensor, split.test.tensor])
    assert torch.equal(both[both[:, 0].argsort()], torch.tensor(x, dtype=torch.float32))
    assert torch.equal(both[:, 0] / 2 % 3, torch.cat([split.train.y, split.test.y]).float())
    assert split.train.space.low.tolist() == [0, 1]
    assert split.train.space.high.tolist() == [16, 17]


def test_given_parts_are_kept_and_share_their_classes(tmp_path) -> None:
    x = np.zeros((2, 4, 4), dtype="uint8")
    path = _save(
        tmp_path,
        x_train=x + 255,
        y_train=np.array(["b", "a"]),
        x_test=x,
        y_test=np.array(["c", "b"]),
    )
    split = open_data(path)
    assert split.train.classes == split.test.classes == ("a", "b", "c")
    assert split.train.y.tolist() == [1, 0]
    assert split.test.y.tolist() == [2, 1]
    assert torch.equal(split.train.tensor, torch.ones(2, 1, 4, 4))
    assert torch.equal(split.test.tensor, torch.zeros(2, 1, 4, 4))


@pytest.mark.parametrize("last", [False, True])
def test_channels_may_come_first_or_last(tmp_path, last: bool) -> None:
    first = np.random.default_rng(0).random((6, 3, 5, 4)).astype("float32")
    x = first.transpose(0, 2, 3, 1) if last else first
    split = open_data(_save(tmp_path, x=x, y=np.arange(6) % 2))
    both = torch.cat([split.train.tensor, split.test.tensor])
    assert both.shape == (6, 3, 5, 4)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(both, torch.tensor(first)[order])


ROWS, LABELS = np.zeros((4, 2)), np.array([0, 1, 0, 1])
BAD = np.array([[0.0, 1], [2, np.nan], [0, 0], [0, 0]])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"a": ROWS, "b": LABELS}, "must hold x and y, or .*: got a, b"),
        ({"x": ROWS}, "must hold x and y"),
        ({"x_train": ROWS, "y_train": LABELS}, "got x_train, y_train"),
        ({"x": ROWS, "y": LABELS[:3]}, "4 rows and 3 labels"),
        ({"x": BAD, "y": LABELS}, "NaN or infinity in row 1, column 1"),
        ({"x": ROWS + 1e300, "y": LABELS}, "NaN or infinity in row 0, column 0"),
        ({"x": ROWS, "y": np.zeros(4)}, "one class only, '0'"),
        ({"x": ROWS, "y": LABELS + 0.5}, "one class a row"),
        ({"x": ROWS, "y": np.eye(4)}, "one class a row"),
        ({"x": np.zeros(4), "y": LABELS}, r"got float64 \(4,\)"),
        ({"x": np.zeros((0, 2)), "y": np.zeros(0)}, r"\(0, 2\)"),
        ({"x": ROWS.astype("complex64"), "y": LABELS}, "complex64"),
        ({"x": np.full((4, 3, 3), 2.0), "y": LABELS}, r"lie in \[0, 1\].*got 2 to 2"),
        ({"x": np.array([object()] * 4), "y": LABELS}, "cannot be read as arrays"),
        (
            {"x_train": ROWS, "y_train": LABELS, "x_test": np.zeros((4, 3)), "y_test": LABELS},
            r"one shape: got \(2,\) and \(3,\)",
        ),
    ],
)  # fmt: skip
def test_arrays_that_are_no_classification_task_are_refused(tmp_path, values, says: str) -> None:
    with pytest.raises(InputError, match=says):
        open_data(_save(tmp_path, **values))


class Planted:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_pickled_objects_in_an_archive_are_never_loaded(tmp_path) -> None:
    path = _save(tmp_path, x=np.array([Planted(tmp_path / "ran")] * 4), y=LABELS)
    with pytest.raises(InputError, match="cannot be read as arrays"):
        open_data(path)
    assert not (tmp_path / "ran").exists()


def test_a_damaged_or_huge_archive_is_refused(tmp_path, monkeypatch) -> None:
    path = Path(_save(tmp_path, x=ROWS, y=LABELS))
    with monkeypatch.context() as patch:
        patch.setattr(arrays, "LIMIT", 100)
        with pytest.raises(InputError, match="too large"):
            open_data(str(path))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(InputError, match="cannot be read as arrays"):
        open_data(str(path))
