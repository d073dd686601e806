"""CSV and Parquet tables with a column of labels."""

import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from holdfast.core.constraints import Table
from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError, MissingExtra
from holdfast.core.space import Box
from holdfast.data.files import read_bytes
from holdfast.data.split import Split, bound, divide, factorise, number

VALUES = 200
"""Most different texts of one column: beyond, it is a name or a date rather than a category."""
GROUPS = 20
"""Most groups of one sensitive attribute."""


def open_table(path: Path, label: str | None, sensitive: Sequence[str], seed: int) -> Split:
    """Numbers stay as they are, texts become one 0/1 column per value ("colour=red").

    Sensitive columns become groups and are no features: a model never sees them.
    """
    frame = _read(path)
    name = path.name.split(".")[0]
    if label is None:
        listed = ", ".join(list(frame.columns)[:10])
        raise InputError(
            f"{path}: which column holds the class?",
            got="no label column",
            fix=f"give --label with one of: {listed}",
        )
    for column in (label, *sensitive):
        _check_column(path, column, list(frame.columns))
    if label in sensitive:
        raise InputError("the label is no sensitive column", got=label, fix="name another column")
    _check_cells(path, frame)
    y, classes = factorise(_plain(frame[label]), f"{path}: column {label!r}")
    groups, values = _groups(path, frame, sensitive)
    x, columns = _features(path, frame.drop(columns=[label, *sensitive]))
    split = divide(Dataset(name, x, y, classes, groups=groups, columns=columns), seed)
    return bound(Split(split.train, split.test, values))


def _read(path: Path) -> Any:
    """The table as a pandas frame; Any, as pandas is optional."""
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingExtra("pandas", "tables") from error
    content = io.BytesIO(read_bytes(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            if path.suffix == ".parquet":
                frame = pd.read_parquet(content)
            else:
                frame = pd.read_csv(
                    content, skipinitialspace=True, low_memory=False, index_col=False
                )
        return frame.rename(columns=str)
    except ImportError as error:
        raise MissingExtra("pyarrow", "tables") from error
    except (ValueError, OSError, pd.errors.ParserWarning) as error:
        first, *_ = (str(error) or type(error).__name__).splitlines()
        raise InputError(
            f"{path} cannot be read as a table",
            got=first,
            fix="give a CSV file in UTF-8 whose first line names the columns, or Parquet",
        ) from error


def _check_column(path: Path, column: str, columns: list[str]) -> None:
    if column not in columns:
        near = get_close_matches(column, columns, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "it has " + ", ".join(columns[:10])
        raise InputError(f"{path} has no such column", got=repr(column), fix=hint)


def _check_cells(path: Path, frame: Any) -> None:
    """No cell is empty; the message names the first that is, as a reader would count."""
    if not len(frame):
        raise InputError(f"{path} has no rows", got="a header only", fix="give a table with rows")
    empty = frame.isna().to_numpy()
    if empty.any():
        row, column = (int(i[0]) for i in empty.nonzero())
        raise InputError(
            f"{path}: {int(empty.sum())} empty cells",
            got=f"no value in data row {row + 1}, column {frame.columns[column]!r}",
            fix="fill the cells, or drop those rows or columns",
        )


def _plain(column: Any) -> list[object]:
    """The values of a column; whatever is neither a number nor a text, such as a date, as text."""
    return [v if isinstance(v, str | int | float) else str(v) for v in column.tolist()]


def _groups(
    path: Path, frame: Any, sensitive: Sequence[str]
) -> tuple[dict[str, Tensor], dict[str, tuple[str, ...]]]:
    """Codes of every sensitive column, and what they mean."""
    groups, values = {}, {}
    for column in sensitive:
        groups[column], values[column] = number(_plain(frame[column]))
        if len(values[column]) > GROUPS:
            raise InputError(
                f"{path}: sensitive column {column!r} has too many groups",
                got=f"{len(values[column])} different values",
                fix="put them into bands first, such as ages by decade",
            )
    return groups, values


def _features(path: Path, frame: Any) -> tuple[Tensor, tuple[str, ...]]:
    """(N, D) float32 and the names of the D columns."""
    parts: list[Tensor] = []
    names: list[str] = []
    for column in frame.columns:
        kind = getattr(frame[column].dtype, "kind", "O")
        if kind in "biuf":
            wide = torch.tensor(frame[column].to_numpy(dtype="float64"))
            parts.append(wide.float().unsqueeze(1))
            names.append(str(column))
            continue
        codes, values = number(frame[column].astype(str).tolist())
        if kind in "Mmc" or len(values) > VALUES:
            raise InputError(
                f"{path}: column {column!r} is neither a number nor a category",
                got=f"{len(values)} different values such as {values[0]!r}",
                fix="drop the column or turn it into numbers",
            )
        parts.append(torch.nn.functional.one_hot(codes, len(values)).float())
        names.extend(f"{column}={value}" for value in values)
    if not parts:
        raise InputError(f"{path} has no columns left as features", got="none", fix="keep some")
    x = torch.cat(parts, 1)
    if not x.isfinite().all():
        row, place = (~x.isfinite()).nonzero()[0].tolist()
        raise InputError(
            f"{path} must hold finite numbers that fit into 32 bits",
            got=f"data row {row + 1}, column {names[place]!r}",
            fix="clean or scale the column",
        )
    return x, tuple(names)


def constrain(
    split: Split, *, immutable: Iterable[str] = (), rise: Iterable[str] = (),
    fall: Iterable[str] = (), costs: Mapping[str, float] | None = None,
) -> Split:  # fmt: skip
    """The same table in the space of its valid rows, as far as the data and the caller tell it.

    Columns named "colour=red" are values of one category, and columns that hold whole numbers only
    are whole; what is immutable or may only rise or fall is the caller's to say.

    Raises:
        InputError: a name that is no column and no category.
    """
    x = torch.cat([split.train.tensor, split.test.tensor])
    space = cast(Box, split.train.space)
    columns = split.train.columns
    whole = [name for name, kind in zip(columns, (x == x.round()).all(0), strict=True) if kind]
    grouped = {name for name in whole if "=" in name}
    space = Table.of(
        columns, space, integers=[name for name in whole if name not in grouped],
        immutable=immutable, rise=rise, fall=fall, costs=costs,
    )  # fmt: skip
    train, test = (replace(part, space=space) for part in (split.train, split.test))
    return replace(split, train=train, test=test)
