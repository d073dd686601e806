"""Mel spectra: pure functions of tensors."""

import torch
from torch import Tensor


def hertz_to_mel(f: Tensor) -> Tensor:
    """O'Shaughnessy's formula, 2595 log10(1 + f / 700), the one that HTK uses."""
    return 2595 * torch.log10(1 + f / 700)


def mel_to_hertz(m: Tensor) -> Tensor:
    """The inverse of `hertz_to_mel`."""
    return 700 * (10 ** (m / 2595) - 1)


def filterbank(bands: int, window: int, rate: int, low: float = 0.0) -> Tensor:
    """(window / 2 + 1, bands) triangular filters, evenly spaced in mel, each one high at its centre.

    Neighbouring triangles cross at one half, so that they sum to one between the first and the last
    centre. Low bands narrower than one bin of the spectrum may be empty: take fewer bands then.
    """
    ends = hertz_to_mel(torch.tensor([low, rate / 2], dtype=torch.float64))
    steps = torch.linspace(0, 1, bands + 2, dtype=torch.float64)
    edges = mel_to_hertz(ends[0] + (ends[1] - ends[0]) * steps)
    bins = torch.linspace(0, rate / 2, window // 2 + 1, dtype=torch.float64).unsqueeze(1)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp(min=0).float()
