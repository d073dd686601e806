"""Label flipping, whose effect on a nearest-mean classifier is known in closed form."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError
from holdfast.core.kinds import Aim
from holdfast.poisoning.attacks.label_flip import LabelFlip


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussians(n: int) -> Dataset:
    """Two classes of n rows each, with means -1 and 1 and unit variance."""
    y = torch.arange(2).repeat_interleave(n)
    x = torch.randn(2 * n, 1, generator=rng(1)) + (2.0 * y - 1).unsqueeze(1)
    return Dataset("gaussians", x, y, ("left", "right"))


@settings(max_examples=40, deadline=None)
@given(n=st.integers(10, 60), rate=st.floats(0, 0.6), classes=st.integers(2, 5))
def test_exactly_the_said_share_of_labels_is_wrong_and_nothing_else(n, rate, classes) -> None:
    y = torch.randint(classes, (n,), generator=rng(n))
    data = Dataset("any", torch.rand(n, 3, generator=rng()), y, tuple("abcde"[:classes]))
    got = LabelFlip().poison(None, data, Aim(rate), rng(7))
    changed = (got.data.y != data.y).nonzero().flatten()
    assert torch.equal(changed, got.rows)
    assert len(changed) == round(rate * n)
    assert torch.equal(got.data.x, data.x)
    assert torch.equal(data.y, y)


def test_a_targeted_flip_moves_source_rows_to_the_wanted_class_only() -> None:
    y = torch.arange(4).repeat(25)
    data = Dataset("any", torch.zeros(100, 1), y, tuple("abcd"))
    got = LabelFlip().poison(None, data, Aim(0.1, wanted=3, source=1), rng())
    assert (y[got.rows] == 1).all()
    assert (got.data.y[got.rows] == 3).all()
    assert len(got.rows) == 10


def test_random_wrong_labels_are_drawn_evenly_from_the_other_classes() -> None:
    data = Dataset("any", torch.zeros(9000, 1), torch.zeros(9000, dtype=torch.long), tuple("abcd"))
    got = LabelFlip().poison(None, data, Aim(1.0), rng())
    shares = got.data.y.bincount(minlength=4) / 9000
    assert shares.tolist() == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3], abs=0.02)


def test_more_flips_than_rows_of_the_source_are_refused() -> None:
    data = Dataset("any", torch.zeros(10, 1), torch.arange(10) % 2, ("a", "b"))
    with pytest.raises(InputError, match="lower the rate"):
        LabelFlip().poison(None, data, Aim(0.8, wanted=0), rng())


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_random_flips_shrink_both_class_means_by_one_minus_twice_the_rate(rate: float) -> None:
    data = gaussians(20000)
    got = LabelFlip().poison(None, data, Aim(rate), rng()).data
    means = [float(got.x[got.y == k].mean()) for k in (0, 1)]
    assert means == pytest.approx([-(1 - 2 * rate), 1 - 2 * rate], abs=0.03)


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_targeted_flips_move_the_nearest_mean_boundary_to_its_closed_form(share: float) -> None:
    """The class that gains rows has mean (1 - q) / (1 + q), so the boundary is -q / (1 + q)."""
    data = gaussians(20000)
    got = LabelFlip().poison(None, data, Aim(share / 2, wanted=1, source=0), rng()).data
    boundary = float(got.x[got.y == 0].mean() + got.x[got.y == 1].mean()) / 2
    assert boundary == pytest.approx(-share / (1 + share), abs=0.02)
    error = float((data.x[data.y == 0] > boundary).float().mean())
    expected = 0.5 * math.erfc((1 - share / (1 + share)) / math.sqrt(2))
    assert error == pytest.approx(expected, abs=0.01)
