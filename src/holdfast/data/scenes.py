"""Segmentation scenes: digits on backgrounds, every pixel labelled. Made at load time from a seed."""

import torch
from torch import Generator, Tensor
from torch.nn.functional import interpolate

from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError

CLASSES = ("background", *"0123456789")


def backgrounds(count: int, size: int, rng: Generator) -> Tensor:
    """Smooth dim textures (N, 1, S, S) in [0, 0.4]: coarse noise, enlarged."""
    coarse = torch.rand(count, 1, 5, 5, generator=rng)
    return 0.4 * interpolate(coarse, size=(size, size), mode="bilinear", align_corners=True)


def compose(
    digits: Dataset, count: int, size: int, seed: int, *, most: int = 2,
    height: tuple[int, int] = (14, 20),
) -> Dataset:  # fmt: skip
    """Scenes of one to `most` digits on smooth backgrounds.

    A digit is enlarged to a random height, drawn with random brightness, and put at a random place;
    where it is brighter than half its brightest pixel, the label map shows it. Digits drawn later
    lie over earlier ones.

    Args:
        digits: (M, 1, h, w) images in [0, 1] of bright digits on dark ground, labelled 0 to 9.
        count: scenes to make.
        size: side of a scene in pixels.
        seed: of everything random; take other digits and another seed for test scenes.
        most: digits in one scene, at most.
        height: least and greatest height of a digit in pixels.

    Returns:
        x (N, 1, S, S) in [0, 1] and y (N, S, S), 0 for background and digit + 1 elsewhere.
    """
    images, labels = digits.tensor, digits.y
    if height[1] > size:
        raise InputError("digits must fit into the scene", got=f"{height[1]} of {size} pixels",
                         fix="make the scenes larger or the digits smaller")  # fmt: skip
    rng = torch.Generator().manual_seed(seed)
    x = backgrounds(count, size, rng)
    y = torch.zeros(count, size, size, dtype=torch.long)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=rng))

    for scene in range(count):
        for _ in range(draw(1, most)):
            which, side = draw(0, len(images) - 1), draw(*height)
            shape = (side, max(1, round(side * images.shape[3] / images.shape[2])))
            image = interpolate(images[which : which + 1], size=shape, mode="bilinear")[0, 0]
            top, left = draw(0, size - shape[0]), draw(0, size - shape[1])
            window = (slice(top, top + shape[0]), slice(left, left + shape[1]))
            ink = image > image.max() / 2
            bright = image * (0.75 + 0.25 * torch.rand((), generator=rng))
            x[scene, 0][window] = torch.where(
                ink, bright, torch.maximum(x[scene, 0][window], bright)
            )
            y[scene][window] = torch.where(ink, labels[which] + 1, y[scene][window])
    return Dataset(f"{digits.name} scenes", x, y, CLASSES)


def mean_iou(answer: Tensor, truth: Tensor, classes: int, void: int = -1) -> float:
    """Intersection over union, averaged over the classes that the truth has; void does not count."""
    known = truth != void
    shares = []
    for k in truth[known].unique().tolist():
        if k < classes:
            said, meant = (answer == k) & known, truth == k
            shares.append(float((said & meant).sum() / (said | meant).sum()))
    return sum(shares) / max(1, len(shares))
