"""JPEG as a function of tensors, by the real codec."""

import io

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

Pixels = npt.NDArray[np.uint8]
"""(H, W, C)."""


def round_trip(x: Tensor, quality: int) -> Tensor:
    """Encode and decode every image (N, C, H, W) of grey (C = 1) or RGB (C = 3) values in [0, 1].

    Values are clamped to the range and rounded to 8 bits first, as a file would hold them.
    """
    pixels = (x.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    decoded = [_codec(image, quality) for image in pixels]
    if not decoded:
        return x.clone()
    back = torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2)
    return (back.to(x.dtype) / 255).to(x.device)


def _codec(image: Pixels, quality: int) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(
        file, "JPEG", quality=quality
    )
    with Image.open(file) as opened:
        return np.array(opened).reshape(image.shape)
