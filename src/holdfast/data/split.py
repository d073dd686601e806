"""What every format shares: numbering classes, bounds of a table, and the training and test part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError
from holdfast.core.space import Box


@dataclass(frozen=True, eq=False)
class Split:
    """Training and test rows of one source.

    Attributes:
        train: rows a model may be trained on.
        test: held-out rows.
        values: what the codes of each sensitive attribute mean, by attribute.
    """

    train: Dataset
    test: Dataset
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def divide(whole: Dataset, seed: int) -> Split:
    """Shuffle by `seed` and cut: the first two thirds train, the rest test."""
    if len(whole) < 3:
        raise InputError(
            f"{whole.name}: a training and a test part need at least 3 rows",
            got=len(whole),
            fix="give more rows",
        )
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(seed))
    cut = round(2 * len(whole) / 3)
    return Split(whole.take(order[:cut]), whole.take(order[cut:]))


def factorise(values: Sequence[object], name: str) -> tuple[Tensor, tuple[str, ...]]:
    """Class index of every label, (N,), and the class names.

    Numbers are in numeric order, texts in alphabetical order: the order that scikit-learn's
    `classes_` and folders of images have.

    Raises:
        InputError: fewer than two different labels.
    """
    codes, names = number(values)
    if len(names) < 2:
        raise InputError(
            f"{name}: a classifier needs rows of two classes at least",
            got=f"one class only, {names[0]!r}" if names else "no rows",
            fix="add rows of another class",
        )
    return codes, names


def number(values: Sequence[object]) -> tuple[Tensor, tuple[str, ...]]:
    """Place of every value in the sorted distinct values, (N,), and those values as text."""
    distinct = sorted(set(values), key=lambda v: (isinstance(v, str), v))
    place = {value: i for i, value in enumerate(distinct)}
    codes = torch.tensor([place[value] for value in values], dtype=torch.long)
    return codes, tuple(_text(value) for value in distinct)


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def bound(split: Split) -> Split:
    """The same tables in a box with the bounds of each column, and its range as unit of change.

    The bounds are those of the training rows, wider where a test row lies outside: a real input
    is a valid one, and `Box.project` keeps its budget only around points of the box. The range is
    that of the training rows, and of all rows where the training rows do not vary.
    """
    train, test = split.train.tensor, split.test.tensor
    low, high = (
        torch.minimum(train.amin(0), test.amin(0)),
        torch.maximum(train.amax(0), test.amax(0)),
    )
    scale = train.amax(0) - train.amin(0)
    scale = torch.where(scale > 0, scale, high - low)
    space = Box(low, high, torch.where(scale > 0, scale, torch.ones_like(scale)))
    return replace(
        split, train=replace(split.train, space=space), test=replace(split.test, space=space)
    )


def unit(images: Tensor) -> Tensor:
    """Bytes (0 to 255) of any shape as float32 in [0, 1]."""
    return images.float().div_(255)
