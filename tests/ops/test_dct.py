"""The cosine basis."""

import torch
from scipy.fft import dctn

from holdfast.ops import dct


def test_coefficients_are_those_of_scipy_and_images_come_back() -> None:
    x = torch.rand(2, 3, 8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.from_numpy(dctn(x.numpy(), axes=(-2, -1), norm="ortho"))
    assert torch.allclose(dct.forward(x), expected, atol=1e-10)
    assert torch.allclose(dct.inverse(dct.forward(x)), x, atol=1e-10)
