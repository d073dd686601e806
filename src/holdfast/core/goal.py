"""What an attacker wants. A goal gives a loss to maximise and judges an answer by degree."""

from dataclasses import dataclass, replace
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor
from torch.nn.functional import ctc_loss
from typing_extensions import TypeVar

from holdfast.core.errors import InputError, NotApplicable
from holdfast.ops import losses
from holdfast.ops.ctc import least_frames
from holdfast.ops.rows import Ragged

Out_contra = TypeVar("Out_contra", default=Tensor, contravariant=True)
Raw_contra = TypeVar("Raw_contra", default=Tensor, contravariant=True)


@runtime_checkable
class Goal(Protocol[Out_contra, Raw_contra]):
    """`reached` is degree >= threshold. Larger degree is better for the attacker."""

    @property
    def threshold(self) -> float: ...
    def loss(self, raw: Raw_contra) -> Tensor: ...
    def degree(self, out: Out_contra) -> Tensor: ...
    def take(self, index: Tensor) -> Self: ...
    def to(self, device: torch.device | str) -> Self: ...


@dataclass(frozen=True, eq=False)
class AwayFrom:
    """Make a classifier leave `labels` (N,)."""

    labels: Tensor
    threshold: float = 1.0

    def loss(self, raw: Tensor) -> Tensor:
        """Cross-entropy of the labels: (N, K) -> (N,)."""
        return losses.cross_entropy(raw, self.labels)

    def margin(self, raw: Tensor) -> Tensor:
        """Positive exactly when the label lost: (N, K) -> (N,)."""
        return losses.margin(raw, self.labels)

    def degree(self, out: Tensor) -> Tensor:
        """One where the answer is another class, else zero."""
        return (out != self.labels).float()

    def take(self, index: Tensor) -> Self:
        """The goal of the rows `index`."""
        return replace(self, labels=self.labels[index.to(self.labels.device)])

    def to(self, device: torch.device | str) -> Self:
        """The same goal on another device."""
        return replace(self, labels=self.labels.to(device))


@dataclass(frozen=True, eq=False)
class ToClass(AwayFrom):
    """Make a classifier answer `labels` (N,)."""

    def loss(self, raw: Tensor) -> Tensor:
        """Log-probability of the wanted class."""
        return -losses.cross_entropy(raw, self.labels)

    def margin(self, raw: Tensor) -> Tensor:
        """Positive exactly when the wanted class won."""
        return -losses.margin(raw, self.labels)

    def degree(self, out: Tensor) -> Tensor:
        """One where the answer is the wanted class, else zero."""
        return (out == self.labels).float()


def of_classes(goal: object) -> AwayFrom:
    """The goal as one about classes, for attacks that look at the scores of single classes.

    Raises:
        NotApplicable: it is another kind of goal.
    """
    if not isinstance(goal, AwayFrom):
        raise NotApplicable("works on classifiers, which give one class per input")
    return goal


@dataclass(frozen=True, eq=False)
class Pixels:
    """Make a segmenter wrong on pixels: labels (N, H, W), void pixels do not count.

    Reached when the share of wrong pixels among the non-void ones is at least `threshold`.
    """

    labels: Tensor
    void: int = -1
    threshold: float = 0.99

    def loss(self, raw: Tensor) -> Tensor:
        """Cross-entropy (N, K, H, W) -> (N,), averaged over the pixels that count."""
        known = self.labels != self.void
        labels = self.labels.masked_fill(~known, 0)  # any class: void pixels are dropped below
        pixel = torch.nn.functional.cross_entropy(raw, labels, reduction="none")
        return (pixel * known).flatten(1).sum(1) / known.flatten(1).sum(1).clamp(min=1)

    def degree(self, out: Tensor) -> Tensor:
        """Share of wrong pixels: (N, H, W) -> (N,)."""
        known = self.labels != self.void
        wrong = ((out != self.labels) & known).flatten(1).sum(1)
        return wrong / known.flatten(1).sum(1).clamp(min=1)

    def take(self, index: Tensor) -> Self:
        """The goal of the rows `index`."""
        return replace(self, labels=self.labels[index.to(self.labels.device)])

    def to(self, device: torch.device | str) -> Self:
        """The same goal on another device."""
        return replace(self, labels=self.labels.to(device))


@dataclass(frozen=True, eq=False)
class Transcript:
    """Make a recogniser write `wanted`; symbol `blank` is CTC's."""

    wanted: Ragged
    blank: int = 0
    threshold: float = 1.0

    def loss(self, raw: Ragged) -> Tensor:
        """Log-likelihood of the wanted transcript under (N, T, K) log-probabilities.

        Raises:
            InputError: a transcript needs more frames than its sound has. Its likelihood is zero,
                which would turn every gradient into NaN.
        """
        frames = least_frames(self.wanted)
        if bool((frames > raw.length).any()):
            row = int((frames > raw.length).nonzero()[0])
            raise InputError(
                f"the wanted transcript of row {row} must fit into its sound",
                got=f"{int(raw.length[row])} frames where {int(frames[row])} are needed",
                fix="want a shorter transcript, or use a longer sound",
            )
        return -ctc_loss(
            raw.data.transpose(0, 1), self.wanted.data, raw.length, self.wanted.length,
            blank=self.blank, reduction="none",
        )  # fmt: skip

    def degree(self, out: Ragged) -> Tensor:
        """One where the transcript is the wanted one, else 1 - edit distance / longer length, >= 0."""
        pairs = [(out.row(i).tolist(), self.wanted.row(i).tolist()) for i in range(len(out))]
        shares = [1 - edit_distance(a, b) / max(len(a), len(b), 1) for a, b in pairs]
        return torch.tensor(shares, dtype=torch.float32, device=out.data.device)

    def take(self, index: Tensor) -> Self:
        """The goal of the rows `index`."""
        return replace(self, wanted=self.wanted.take(index))

    def to(self, device: torch.device | str) -> Self:
        """The same goal on another device."""
        return replace(self, wanted=self.wanted.to(device))


def edit_distance(a: list[int], b: list[int]) -> int:
    """Levenshtein distance by dynamic programming over one row."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (left != right))
    return row[-1]
