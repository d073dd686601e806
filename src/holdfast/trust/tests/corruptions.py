"""Accuracy under everyday corruptions (Hendrycks & Dietterich 2019)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import Metric
from holdfast.core.method import hyper, method
from holdfast.core.record import Measurement
from holdfast.core.target import Answers
from holdfast.ops.corruptions import PROPERTIES, corrupt
from holdfast.ops.stats import clopper_pearson, mean_interval


@method(cites="hendrycks2019", where="sec. 3, 4.1")
@dataclass(frozen=True)
class Corruptions(Metric[Answers]):
    """Accuracy under corruption by light, position, blur, noise and weather.

    accuracy(property, s) = mean over its corruptions c and over rows of [ f(c_s(x)) = y ]

    for severities s = 1 to 5; the mean corruption accuracy is the mean of all of these. Every row
    has its own random numbers, whatever batch it is in. The corruptions of a property see the same
    rows, so their trials are not independent: the interval is the exact binomial one for as many
    trials as there are rows, which is never too narrow, as the mean of a row's trials varies less
    than one trial.
    """

    severities: int = hyper(5, "sec. 3", low=1, high=5)

    def measure(self, target: Answers, data: Dataset, rng: Generator) -> Iterator[Measurement]:
        x = _images(data)
        seed = int(torch.randint(2**62, (1,), generator=rng, device=rng.device))
        rows = torch.arange(len(x))
        shares = []
        for name, members in PROPERTIES.items():
            for severity in range(1, self.severities + 1):
                right = torch.stack(
                    [target.answer(corrupt(m, x, severity, rows, seed)) == data.y for m in members]
                )
                share = right.double().mean(0)
                shares.append(share)
                yield _accuracy("accuracy under corruption", share, f"{name}={severity}")
                for member, one in zip(members, right.double(), strict=True):
                    yield _accuracy("accuracy by corruption", one, f"{member}={severity}")
        overall = torch.stack(shares).mean(0)
        low, high = mean_interval(overall.numpy())
        yield Measurement(
            "mean corruption accuracy", float(overall.mean()), len(x), max(0.0, low), min(1.0, high)
        )


def _images(data: Dataset) -> Tensor:
    """The images, or the reason why these are none."""
    x = data.x
    if not isinstance(x, Tensor) or x.ndim != 4 or min(x.shape[2:]) < 8:
        raise NotApplicable("corruptions are for images of at least 8 x 8 pixels")
    if not len(x) or float(x.min()) < 0 or float(x.max()) > 1:
        raise NotApplicable("corruptions need at least one image, with values in [0, 1]")
    return x


def _accuracy(name: str, share: Tensor, part: str) -> Measurement:
    """Mean of per-row shares (N,) with the binomial interval for N trials."""
    count, n = float(share.sum()), len(share)
    low = clopper_pearson(math.floor(count + 1e-9), n).low
    high = clopper_pearson(math.ceil(count - 1e-9), n).high
    return Measurement(name, count / n, n, low, high, part)
