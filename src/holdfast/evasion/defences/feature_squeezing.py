"""Feature squeezing (Xu, Evans and Qi 2018)."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import Detector, FittedDetector
from holdfast.core.method import hyper, method
from holdfast.core.target import Scores
from holdfast.ops.transforms import bit_depth, median_filter


@dataclass(frozen=True)
class BitDepth:
    """Rounds pixels to 2^bits levels."""

    bits: int

    def apply(self, x: Tensor, rng: Generator) -> Tensor:
        return bit_depth(x.clamp(0, 1), self.bits)


@dataclass(frozen=True)
class Median:
    """Replaces every pixel by the median of a window."""

    size: int

    def apply(self, x: Tensor, rng: Generator) -> Tensor:
        return median_filter(x, self.size)


@dataclass(frozen=True, eq=False)
class Disagreement:
    """Largest distance between the probabilities of an input and of its squeezed copies.

    Shows its squeezers, as an attacker who knows the detector looks through them as well.
    """

    target: Scores
    squeezers: tuple[BitDepth | Median, ...]
    rng: Generator

    def __call__(self, x: Tensor) -> Tensor:
        plain = self.target.scores(x).softmax(1)
        squeezed = [self.target.scores(s.apply(x, self.rng)).softmax(1) for s in self.squeezers]
        return torch.stack([(plain - other).abs().sum(1) for other in squeezed]).amax(0)


@method(cites="xu2018", where="sec. V, eq. 2")
@dataclass(frozen=True)
class FeatureSqueezing(Detector[Scores]):
    r"""Feature squeezing detector.

    score(x) = max_s | softmax f(x) - softmax f(s(x)) |_1

    over squeezers s: fewer bits per pixel, and a median filter. They are to leave a clean image's
    answer alone and to undo much of a perturbation that was made without knowing of them. The
    authors picked them by hand for every data set; here clean rows decide: the fewest bits, and
    the median filter if at all, that leave the share `keeps` of the answers as they are.
    """

    bits: int = hyper(1, "table V, MNIST; the fewest that are tried", low=1, high=8)
    window: int = hyper(2, "table V, MNIST: 2 x 2 median", low=2)
    keeps: float = hyper(0.95, "ours: no more than twice a usual model's own error", low=0, high=1)

    def fit(self, target: Scores, clean: Dataset, rng: Generator) -> FittedDetector:
        x = clean.tensor
        if x.ndim != 4:
            raise NotApplicable("squeezers work on images, (N, C, H, W)")
        before = target.answer(x)

        def kept(squeezer: BitDepth | Median) -> float:
            return float((target.answer(squeezer.apply(x, rng)) == before).float().mean())

        depths = (BitDepth(bits) for bits in range(self.bits, 9))
        depth, median = (
            next((d for d in depths if kept(d) >= self.keeps), BitDepth(8)),
            Median(self.window),
        )
        return Disagreement(
            target, (depth, median) if kept(median) >= self.keeps else (depth,), rng
        )
