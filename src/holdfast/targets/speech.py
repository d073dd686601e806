"""Speech recognisers trained with CTC as targets: ragged sound in, ragged symbols out."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from holdfast.core.errors import TargetError
from holdfast.core.space import Waveform
from holdfast.core.target import Gradient
from holdfast.ops import ctc, mel
from holdfast.ops.rows import Ragged
from holdfast.targets.torch import _still


@dataclass(frozen=True, eq=False)
class CtcRecogniser:
    """A module called as `module(sound, length)` that gives `(scores, frames)`.

    Sound is (N, L), zero beyond `length` (N,); scores are (N, T, K), of which row i has `frames[i]`
    and symbol 0 is CTC's blank. What the module makes of one row must not depend on the others: it
    has to mask what it normalises or convolves, and to pack what it reads backwards.
    """

    module: nn.Module
    space: Waveform = field(default_factory=Waveform)

    def scores(self, x: Ragged) -> Ragged:
        """(N, T, K) log-probabilities, zero beyond a row's frames, without a graph."""
        with _still(self.module), torch.no_grad():
            return self._forward(x.data * x.mask, x.length)

    def decode(self, raw: Ragged) -> Ragged:
        """Best-path decoding."""
        return ctc.greedy(raw)

    def answer(self, x: Ragged) -> Ragged:
        """Transcripts as symbol ids."""
        return self.decode(self.scores(x))

    def gradient(self, x: Ragged, loss: Callable[[Ragged], Tensor]) -> Gradient[Ragged]:
        """Gradient of sum(loss) in the sound, (N, L), exactly zero in the padding."""
        # cuDNN cannot go backward through a recurrent layer that is in evaluation mode
        with (
            _still(self.module),
            torch.enable_grad(),
            torch.backends.cudnn.flags(enabled=not x.data.is_cuda),
        ):
            sound = x.data.detach().requires_grad_()
            raw = self._forward(sound * x.mask, x.length)
            (grad,) = torch.autograd.grad(loss(raw).sum(), sound)
        return Gradient(grad, Ragged(raw.data.detach(), raw.length))

    def _forward(self, sound: Tensor, length: Tensor) -> Ragged:
        if not len(sound):
            return Ragged(sound.new_zeros(0, 1, 1), length)
        scores, frames = self.module(sound, length)
        if scores.ndim != 3 or len(scores) != len(sound):
            raise TargetError(
                "a recogniser must give (N, T, K) scores and (N,) frame counts",
                got=tuple(scores.shape),
                fix="return one row of frames per sound",
            )
        raw = Ragged(scores.log_softmax(2), frames)
        return Ragged(raw.data * raw.mask.unsqueeze(2), frames)


class LogMel(nn.Module):
    """Log-mel spectrum of each sound, centred per row over its own frames.

    Args:
        rate: samples per second.
        bands: of the mel scale.
        window: samples of one frame.
        hop: samples from frame to frame.
    """

    def __init__(self, rate: int = 8000, bands: int = 40, window: int = 256, hop: int = 80) -> None:
        super().__init__()
        self.window, self.hop = window, hop
        self.register_buffer("bank", mel.filterbank(bands, window, rate, low=60.0))
        self.register_buffer("taper", torch.hann_window(window))

    def forward(self, sound: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """(N, L) sound -> (N, T, bands), zero beyond a row's frames, and (N,) frames.

        Both ends are padded by silence, as a shorter row's end is: reflection would let a row see
        how far the batch was padded.
        """
        taper, bank = self.get_buffer("taper"), self.get_buffer("bank")
        spectrum = torch.stft(
            sound, self.window, self.hop, window=taper.to(sound.dtype), center=True,
            pad_mode="constant", return_complex=True,
        )  # fmt: skip
        power = spectrum.real.square() + spectrum.imag.square()
        level = (power.transpose(1, 2) @ bank.to(sound.dtype) + 1e-5).log()
        frames = 1 + length // self.hop
        steps = torch.arange(level.shape[1], device=sound.device)
        inside = (steps < frames.view(-1, 1)).unsqueeze(2)
        mean = (level * inside).sum(1, keepdim=True) / frames.view(-1, 1, 1)
        return (level - mean) * inside / 3, frames  # 3: near unit variance for speech
