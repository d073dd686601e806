"""JPEG compression as a defence (Guo et al. 2018)."""

from dataclasses import dataclass

from torch import Generator, Tensor

from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import Preprocessor
from holdfast.core.method import hyper, method
from holdfast.ops.jpeg import round_trip


@method(cites="guo2018", where="sec. 4, JPEG compression")
@dataclass(frozen=True)
class JPEG(Preprocessor):
    """JPEG compression.

    x <- decode(encode(x, quality)) by the codec itself, on 8-bit grey or RGB images.

    Quantising the discrete cosine transform drops small high frequencies, and with them much of a
    perturbation that was made without knowing of it. It has no useful gradient, which stops
    nobody: replacing its derivative by the identity does (BPDA), and the engine does just that.
    """

    quality: int = hyper(75, "sec. 4: quality level 75 of 100", low=1, high=100)

    def apply(self, x: Tensor, rng: Generator) -> Tensor:
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise NotApplicable("JPEG needs grey or RGB images, (N, 1 or 3, H, W)")
        return round_trip(x, self.quality)
