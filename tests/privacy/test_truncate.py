"""Truncated answers, exactly."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.privacy.defences.truncate import Truncate

RNG = torch.Generator()


def shown(method: Truncate, *row: float) -> list[float]:
    return method.filter(torch.tensor([row], dtype=torch.float64), RNG)[0].tolist()


@pytest.mark.parametrize(
    ("method", "row", "expected"),
    [
        (Truncate(decimals=2), (0.1234, 0.8766), (0.12, 0.88)),
        (Truncate(decimals=1), (0.1234, 0.8766), (0.1, 0.9)),
        (Truncate(decimals=0), (0.45, 0.55), (0, 1)),
        # nearest would give 0.4, 0.4, 0.3, and taking the excess off the answer would change it
        (Truncate(decimals=1), (0.36, 0.355, 0.285), (0.5, 0.3, 0.2)),
        (Truncate(top=1, decimals=-1), (0.7, 0.2, 0.1), (0.7, 0.15, 0.15)),
        (Truncate(top=2, decimals=-1), (0.1, 0.25, 0.6, 0.05), (0.075, 0.25, 0.6, 0.075)),
        (Truncate(top=2, decimals=1), (0.08, 0.21, 0.6, 0.11), (0.1, 0.2, 0.6, 0.1)),
        (Truncate(label_only=True), (0.4, 0.4, 0.2), (1, 0, 0)),
        (Truncate(decimals=-1), (0.1234, 0.8766), (0.1234, 0.8766)),
    ],
)
def test_known_answers(method: Truncate, row: tuple, expected: tuple) -> None:
    assert shown(method, *row) == pytest.approx(list(expected), abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(
    logits=st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=12),
    top=st.integers(0, 5),
    decimals=st.integers(-1, 6),
    label_only=st.booleans(),
)
def test_rows_sum_to_one_and_the_answer_never_changes(logits, top, decimals, label_only) -> None:
    p = torch.tensor([logits], dtype=torch.float64).softmax(1)
    got = Truncate(top, decimals, label_only).filter(p, RNG)
    assert float(got.sum()) == pytest.approx(1, abs=1e-9)
    assert (got >= -1e-12).all()
    assert int(got.argmax()) == int(p.argmax())
    if decimals >= 0:
        parts = got * 10**decimals
        assert (parts - parts.round()).abs().max() < 1e-6


def test_top_k_shows_k_probabilities_as_they_are_and_none_of_the_others() -> None:
    p = torch.rand(50, 10, generator=torch.Generator().manual_seed(0)).softmax(1).double()
    got = Truncate(top=3, decimals=-1).filter(p, RNG)
    kept = p >= p.topk(3, 1).values[:, -1:]
    assert torch.equal(got[kept], p[kept])
    assert (got.masked_fill(kept, 0).amax(1) - got.masked_fill(kept, 9).amin(1)).abs().max() == 0
