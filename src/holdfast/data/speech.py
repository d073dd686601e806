"""Spoken digits: recordings from a zip of WAV files, joined to strings."""

import io
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.io import wavfile
from torch import Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError
from holdfast.core.space import Waveform
from holdfast.ops.rows import Ragged, ragged

CLASSES = ("", *"0123456789")
"""Symbols by id: 0 is CTC's blank and the padding of transcripts, digit d is d + 1."""


@dataclass(frozen=True, eq=False)
class Recordings:
    """Single words.

    Attributes:
        sound: ragged waveforms in [-1, 1), on the 16-bit grid.
        digit: (N,) what is said.
        speaker: (N,) codes of `speakers`.
        index: (N,) number of the recording, by which the source splits test (0 to 4) and training.
        speakers: names by code.
        rate: samples per second.
    """

    sound: Ragged
    digit: Tensor
    speaker: Tensor
    index: Tensor
    speakers: tuple[str, ...]
    rate: int = 8000

    def split(self) -> tuple["Recordings", "Recordings"]:
        """Training and test recordings, as the source splits them."""
        test = self.index < 5
        return self.take((~test).nonzero().flatten()), self.take(test.nonzero().flatten())

    def take(self, rows: Tensor) -> "Recordings":
        """The recordings `rows`."""
        parts = (self.digit[rows], self.speaker[rows], self.index[rows])
        return Recordings(self.sound.take(rows), *parts, self.speakers, self.rate)


def fsdd(path: Path) -> Recordings:
    """The Free Spoken Digit Dataset: a zip that holds <digit>_<speaker>_<index>.wav, mono, 16 bits.

    Raises:
        InputError: no such files, or sound of another kind.
    """
    sounds: list[Tensor] = []
    facts: list[tuple[int, str, int]] = []
    for name, content in _members(path):
        named = re.fullmatch(r"([0-9])_([a-z]+)_([0-9]+)", Path(name).stem)
        if named is None:
            raise InputError("recordings must be named <digit>_<speaker>_<index>.wav",
                             got=name, fix="give the data set's zip")  # fmt: skip
        rate, samples = wavfile.read(io.BytesIO(content))
        if rate != 8000 or samples.dtype != np.int16 or samples.ndim != 1:
            raise InputError(f"{name} must be mono, 16 bits and 8 kHz",
                             got=f"{samples.dtype}, {rate} Hz", fix="convert it")  # fmt: skip
        sounds.append(torch.from_numpy(samples.astype(np.float32) / 32768))
        facts.append((int(named[1]), named[2], int(named[3])))
    if not sounds:
        raise InputError(f"{path} must hold WAV files", got="none", fix="give the data set's zip")
    speakers = tuple(sorted({speaker for _, speaker, _ in facts}))
    return Recordings(
        ragged(sounds),
        torch.tensor([digit for digit, _, _ in facts]),
        torch.tensor([speakers.index(speaker) for _, speaker, _ in facts]),
        torch.tensor([index for _, _, index in facts]),
        speakers,
    )


def _members(path: Path) -> list[tuple[str, bytes]]:
    """Names and contents of the WAV files in a zip, by name."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".wav"))
            return [(name, archive.read(name)) for name in names]
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read", got=error, fix="give a complete zip") from error


def strings(
    words: Recordings, count: int, length: tuple[int, int], seed: int, name: str = "digit strings"
) -> Dataset:
    """Digit strings: words of one speaker each, joined with random pauses and loudness.

    Args:
        words: what to join.
        count: strings to make.
        length: least and greatest number of digits.
        seed: of everything random.
        name: of the data set.

    Returns:
        x ragged sound on the 16-bit grid; y (N, S) symbols, digit + 1, padded with 0.
    """
    rng = torch.Generator().manual_seed(seed)
    own = [(words.speaker == s).nonzero().flatten() for s in range(len(words.speakers))]
    own = [rows for rows in own if len(rows)]
    sounds, said = [], []
    for _ in range(count):
        speaker = own[int(torch.randint(len(own), (), generator=rng))]
        digits = int(torch.randint(length[0], length[1] + 1, (), generator=rng))
        rows = speaker[torch.randint(len(speaker), (digits,), generator=rng)].tolist()
        parts = [_pause(words.rate, rng)]
        for row in rows:
            one = words.sound.row(row)
            gain = (0.25 + 0.5 * torch.rand((), generator=rng)) / one.abs().max().clamp(min=1e-4)
            parts += [one * gain, _pause(words.rate, rng)]
        sounds.append((torch.cat(parts) * 32768).round() / 32768)
        said.append(words.digit[rows] + 1)
    return Dataset(name, ragged(sounds), ragged(said).data, CLASSES, Waveform(words.rate))


def _pause(rate: int, rng: torch.Generator) -> Tensor:
    """Near silence of 20 to 120 ms."""
    samples = int(rate * (0.02 + 0.1 * torch.rand((), generator=rng)))
    return 1e-3 * torch.randn(samples, generator=rng)
