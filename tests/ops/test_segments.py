"""Probing a segment for the boundary."""

import torch

from holdfast.ops.segments import Segments


def probed(margin, steps: int):
    """Shares after each probe of rows whose margin at share t is margin(t)."""
    line = Segments.between(margin(torch.zeros(3)), margin(torch.ones(3)))
    for _ in range(steps):
        line = line.told(margin(line.probe))
    return line


def test_one_probe_ends_at_a_straight_boundary() -> None:
    at = torch.tensor([0.1, 0.5, 0.99])
    line = probed(lambda t: 3 * (t - at), 1)
    assert (line.far > at).all()
    assert (line.far < 1.0011 * at).all()


def test_curved_boundaries_are_closed_in_on_from_both_sides() -> None:
    at = torch.tensor([0.2, 0.5, 0.8])
    line = probed(lambda t: t**3 - at**3, 14)
    assert (line.near < at).all()
    assert (line.far > at).all()
    assert (line.far < 1.01 * at).all()


def test_the_far_end_always_holds_even_where_margins_mislead() -> None:
    at = torch.tensor([0.2, 0.5, 0.8])
    line = probed(lambda t: torch.where(t > at, 1e6, -1e-6), 30)
    assert (line.far > at).all()
    assert (line.near <= at).all()


def test_rows_leave() -> None:
    line = probed(lambda t: t - 0.5, 2)
    assert torch.equal(line.take(torch.tensor([2])).far, line.far[2:])
