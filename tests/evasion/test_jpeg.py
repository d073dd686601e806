"""JPEG as a preprocessor against the codec itself."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from holdfast.core.errors import NotApplicable
from holdfast.evasion.defences.jpeg import JPEG

RNG = torch.Generator()


def images(channels: int, size: int = 24) -> torch.Tensor:
    """Eight-bit noise on top of a slope, so that every frequency is there."""
    rng = torch.Generator().manual_seed(channels)
    slope = torch.linspace(0, 200, size).expand(5, channels, size, size)
    return (slope + 55 * torch.rand(5, channels, size, size, generator=rng)).round() / 255


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [10, 75])
def test_every_byte_is_the_codecs(channels: int, quality: int) -> None:
    x = images(channels)
    ours = (JPEG(quality).apply(x, RNG) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    for image, got in zip(x, ours, strict=True):
        pixels = (image.permute(1, 2, 0) * 255).round().byte().numpy()
        file = io.BytesIO()
        Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(
            file, "JPEG", quality=quality
        )
        theirs = np.asarray(Image.open(file))
        assert np.array_equal(got, theirs.reshape(got.shape))


def test_at_quality_100_no_grey_level_moves_by_more_than_rounding_allows() -> None:
    # 64 cosine coefficients rounded to whole numbers: by Parseval at most 0.5 * 8 = 4 levels, and
    # one more for rounding the pixels and the codec's integer arithmetic
    x = images(1)
    assert ((JPEG(100).apply(x, RNG) - x).abs() * 255).max() <= 5


def test_lower_quality_loses_more() -> None:
    x = images(1)
    loss = [float((JPEG(q).apply(x, RNG) - x).square().mean()) for q in (100, 75, 30, 5)]
    assert loss == sorted(loss)
    assert loss[0] < loss[-1] / 10


def test_values_beyond_the_range_are_clamped_and_inputs_stay_as_they_were() -> None:
    x = torch.tensor([-1.0, 2.0]).view(2, 1, 1, 1).expand(2, 1, 8, 8).clone()
    got = JPEG().apply(x, RNG)
    assert (got[0] == 0).all()
    assert (got[1] == 1).all()
    assert x.unique().tolist() == [-1.0, 2.0]


def test_each_image_is_encoded_by_itself_and_none_is_fine() -> None:
    x = images(3)
    whole = JPEG().apply(x, RNG)
    assert torch.equal(whole, torch.cat([JPEG().apply(row, RNG) for row in x.split(1)]))
    assert JPEG().apply(x[:0], RNG).shape == (0, 3, 24, 24)


@pytest.mark.parametrize("shape", [(4, 10), (4, 2, 8, 8)])
def test_what_is_no_grey_or_rgb_image_is_not_applicable(shape: tuple[int, ...]) -> None:
    with pytest.raises(NotApplicable, match="images"):
        JPEG().apply(torch.zeros(shape), RNG)
