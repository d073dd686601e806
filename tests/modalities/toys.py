"""Tiny targets of sound and words whose best attack is known."""

import torch
from torch import Tensor, nn

from holdfast.core.space import Waveform, Words
from holdfast.targets.speech import CtcRecogniser
from holdfast.targets.words import WordClassifier


class BagOfWords(nn.Module):
    """Sum of word vectors, then a linear layer without bias: exactly first-order."""

    def __init__(self, words: int = 12, classes: int = 2) -> None:
        super().__init__()
        self.words = nn.Embedding(words, 4)
        self.head = nn.Linear(4, classes, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head((self.words(ids) * (ids != 0).unsqueeze(2)).sum(1))


def bag_of_words(seed: int, words: int = 12) -> WordClassifier:
    """A random bag of words; every word may become one of three others, some of fewer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = BagOfWords(words)
        candidates = torch.stack([torch.randperm(words - 1)[:3] + 1 for _ in range(words)])
    own = candidates == torch.arange(words).unsqueeze(1)
    candidates = candidates.masked_fill(own, -1)
    candidates[0] = -1
    return WordClassifier(module, Words(candidates))


class Levels(nn.Module):
    """One frame per sample s: scores 0.25, s, -s for blank, symbol 1 and symbol 2, sharpened.

    A frame says 1 exactly where s > 0.25, 2 where s < -0.25, and nothing between.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sharp = nn.Parameter(torch.tensor(40.0))

    def forward(self, sound: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        quiet = torch.full_like(sound, 0.25)
        return self.sharp * torch.stack([quiet, sound, -sound], 2), length


def levels() -> CtcRecogniser:
    """The recogniser of levels."""
    return CtcRecogniser(Levels(), Waveform())
