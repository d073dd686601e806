"""BadNets: what is changed, by how much, and what is left alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.backdoor.attacks.badnets import CORNERS, BadNets
from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError, NotApplicable
from holdfast.core.kinds import Aim


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 50, classes: int = 5) -> Dataset:
    x = torch.rand(n, 2, 6, 7, generator=rng(1)) * 0.9
    return Dataset("noise", x, torch.arange(n) % classes, tuple("abcde"[:classes]))


@settings(max_examples=30, deadline=None)
@given(rate=st.floats(0, 0.7), wanted=st.integers(0, 4), size=st.integers(1, 6))
def test_the_said_share_of_the_whole_set_gets_trigger_and_label(rate, wanted, size) -> None:
    data, method = images(), BadNets(size=size)
    x, y = data.x.clone(), data.y.clone()
    got = method.poison(data, Aim(rate, wanted), rng())
    assert len(got.rows) == len(set(got.rows.tolist())) == round(rate * 50)
    assert (y[got.rows] != wanted).all()
    assert (got.data.y[got.rows] == wanted).all()
    assert torch.equal(got.data.x[got.rows], method.stamp(x[got.rows], rng()))
    others = torch.ones(50, dtype=torch.bool)
    others[got.rows] = False
    assert torch.equal(got.data.x[others], x[others])
    assert torch.equal(got.data.y[others], y[others])
    assert torch.equal(data.x, x)
    assert torch.equal(data.y, y)
    assert data.space.contains(got.data.x).all()


@pytest.mark.parametrize("corner", CORNERS)
def test_the_patch_fills_its_corner_in_every_channel_and_nothing_else(corner: str) -> None:
    x = torch.zeros(1, 2, 6, 7)
    lit = BadNets(size=2, value=0.8, corner=corner).stamp(x, rng())[0]
    rows = [4, 5] if "bottom" in corner else [0, 1]
    columns = [5, 6] if "right" in corner else [0, 1]
    expected = torch.zeros(2, 6, 7)
    for row in rows:
        for column in columns:
            expected[:, row, column] = 0.8
    torch.testing.assert_close(lit, expected)
    assert x.sum() == 0


def test_a_source_restricts_which_rows_are_stamped() -> None:
    got = BadNets().poison(images(), Aim(0.1, wanted=0, source=3), rng())
    assert (images().y[got.rows] == 3).all()


def test_a_rate_above_the_rows_there_are_is_refused() -> None:
    with pytest.raises(InputError, match="lower the rate"):
        BadNets().poison(images(), Aim(0.9, wanted=0), rng())


def test_a_patch_larger_than_the_image_is_refused() -> None:
    with pytest.raises(InputError, match="must fit"):
        BadNets(size=7).stamp(torch.zeros(1, 1, 6, 7), rng())


def test_tables_have_no_corner_for_a_patch() -> None:
    with pytest.raises(NotApplicable, match="images"):
        BadNets().stamp(torch.zeros(3, 8), rng())
