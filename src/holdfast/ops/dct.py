"""Orthonormal discrete cosine transform of images, a basis ordered by frequency."""

import math

import torch
from torch import Tensor


def basis(size: int, like: Tensor) -> Tensor:
    """(size, size) orthonormal DCT-II matrix: row k is the cosine of frequency k."""
    place = torch.arange(size, dtype=like.dtype, device=like.device)
    waves = torch.cos(math.pi / size * (place + 0.5) * place.view(-1, 1)) * math.sqrt(2 / size)
    return torch.cat([waves[:1] / math.sqrt(2), waves[1:]])


def forward(images: Tensor) -> Tensor:
    """Coefficients of images (..., H, W), of the same shape, low frequencies first."""
    height, width = images.shape[-2:]
    return basis(height, images) @ images @ basis(width, images).T


def inverse(coefficients: Tensor) -> Tensor:
    """Images of coefficients (..., H, W); it keeps L2 norms, as the basis is orthonormal."""
    height, width = coefficients.shape[-2:]
    return basis(height, coefficients).T @ coefficients @ basis(width, coefficients)
