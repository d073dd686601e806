"""Robust aggregation on small matrices and under arbitrary lies."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.backdoor.defences.trimmed_mean import TrimmedMean
from holdfast.core.errors import InputError


def test_small_matrices_are_aggregated_exactly() -> None:
    updates = torch.tensor([[1.0, 9.0], [2.0, -7.0], [3.0, 0.0], [4.0, 1.0], [100.0, 2.0]])
    assert TrimmedMean(0.5).aggregate(updates).tolist() == [3.0, 1.0]
    assert TrimmedMean(0.2).aggregate(updates).tolist() == [3.0, 1.0]
    assert TrimmedMean(0.0).aggregate(updates).tolist() == [22.0, 1.0]
    assert TrimmedMean(0.5).aggregate(updates[:4]).tolist() == [2.5, 0.5]


@pytest.mark.parametrize(("trim", "clients", "cut"), [(0.29, 100, 29), (0.1, 10, 1), (0.19, 10, 1)])
def test_the_number_left_out_is_the_whole_part_of_the_share(trim, clients, cut) -> None:
    """Squares tell how many were cut, as their trimmed mean depends on it."""
    values = torch.arange(clients, dtype=torch.float64).square().unsqueeze(1)
    expected = values[cut : clients - cut].mean(0)
    torch.testing.assert_close(TrimmedMean(trim).aggregate(values), expected)


@settings(max_examples=100, deadline=None)
@given(honest=st.integers(1, 8), size=st.integers(1, 4), seed=st.integers(0, 99), data=st.data())
def test_fewer_than_half_liars_never_leave_the_honest_range(honest, size, seed, data) -> None:
    rng = torch.Generator().manual_seed(seed)
    good = torch.randn(honest, size, generator=rng)
    lies = data.draw(
        st.lists(
            st.lists(st.floats(-1e6, 1e6, width=32), min_size=size, max_size=size),
            max_size=honest - 1,
        )
    )
    bad = torch.tensor(lies).reshape(-1, size)
    everyone = torch.cat([good, bad])[torch.randperm(honest + len(bad), generator=rng)]
    for trim in {0.5, len(bad) / len(everyone)}:
        got = TrimmedMean(trim).aggregate(everyone)
        assert (got >= good.min(0).values - 1e-5).all()
        assert (got <= good.max(0).values + 1e-5).all()


def test_the_order_of_clients_does_not_matter() -> None:
    updates = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    for trim in (0.2, 0.5):
        method = TrimmedMean(trim)
        torch.testing.assert_close(method.aggregate(updates.flip(0)), method.aggregate(updates))


def test_an_update_that_is_not_finite_is_refused() -> None:
    with pytest.raises(InputError, match="finite"):
        TrimmedMean().aggregate(torch.tensor([[1.0], [float("nan")], [2.0]]))
