"""A table read from a file tells its own categories and whole numbers."""

from pathlib import Path

import pytest
import torch

from holdfast.core.constraints import Table
from holdfast.core.errors import InputError
from holdfast.core.space import Box
from holdfast.data.opening import open_data
from holdfast.data.tables import constrain

pytest.importorskip("pandas")


def _split(folder: Path):
    lines = ["age,income,job,ok"]
    lines += [
        f"{20 + i},{i / 7:.3f},{('cook', 'clerk', 'smith')[i % 3]},{i % 2}" for i in range(30)
    ]
    path = folder / "people.csv"
    path.write_text("\n".join(lines))
    return open_data(str(path), label="ok")


def test_categories_and_whole_numbers_are_seen_and_the_rest_is_told(tmp_path: Path) -> None:
    plain = _split(tmp_path)
    assert type(plain.train.space) is Box
    split = constrain(plain, immutable=("job",), rise=("age",), costs={"income": 4.0})
    space = split.train.space
    assert isinstance(space, Table)
    assert split.test.space is space
    assert split.train.columns == ("age", "income", "job=clerk", "job=cook", "job=smith")
    assert space.rules.groups == ((2, 3, 4),)
    assert space.rules.integers.tolist() == [True, False, False, False, False]
    assert space.editable.tolist() == [True, True, False, False, False]
    assert space.rules.rise.tolist() == [True, False, False, False, False]
    torch.testing.assert_close(
        space.scale[:2], plain.train.space.scale[:2] / torch.tensor([1.0, 4])
    )
    assert space.contains(torch.cat([split.train.tensor, split.test.tensor])).all()
    with pytest.raises(InputError, match="no such column"):
        constrain(plain, fall=("wage",))
