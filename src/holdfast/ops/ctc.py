"""Connectionist temporal classification: what can be written, and what a recogniser wrote."""

import torch
from torch import Tensor

from holdfast.ops.rows import Ragged


def transcripts(y: Tensor) -> Ragged:
    """Labels (N, S) padded with 0, which is no symbol, as ragged symbols."""
    return Ragged(y, (y != 0).sum(1))


def least_frames(wanted: Ragged) -> Tensor:
    """(N,) frames that a transcript needs: one per symbol and a blank between equal neighbours.

    Graves et al. 2006, sec. 3.1: the map from paths to labellings merges repeats.
    """
    repeats = (wanted.data[:, 1:] == wanted.data[:, :-1]) & wanted.mask[:, 1:]
    return wanted.length + repeats.sum(1)


def greedy(scores: Ragged, blank: int = 0) -> Ragged:
    """Best-path decoding (Graves et al. 2006, eq. 4): (N, T, K) scores -> symbols.

    The likeliest symbol of each frame; repeats are merged, then blanks are dropped.
    """
    path = scores.data.argmax(2).masked_fill(~scores.mask, blank)
    before = torch.nn.functional.pad(path[:, :-1], (1, 0), value=blank)
    written = (path != blank) & (path != before)
    length = written.sum(1)
    order = written.int().argsort(dim=1, descending=True, stable=True)
    packed = path.masked_fill(~written, 0).gather(1, order)
    return Ragged(packed[:, : int(length.max()) if len(length) else 0], length)
