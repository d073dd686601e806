"""Defended models are targets too: wrap one, and every attack on it becomes adaptive."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import torch
from torch import Generator, Tensor

from holdfast.core.kinds import OutputFilter
from holdfast.core.run import Run
from holdfast.core.target import Gradient, Gradients, Redrawn, Scores
from holdfast.ops.balls import TINY

NUMBERS_KEPT = 2**24
"""How much a randomised defence remembers; beyond it the oldest answers are forgotten."""


class Change(Protocol):
    """Anything that changes inputs, such as a Preprocessor."""

    def apply(self, x: Tensor, rng: Generator) -> Tensor: ...


class _Memory:
    """Gives an input the same draw of a randomised change every time it is asked for.

    Otherwise a caller could average the randomness away, and re-judging would meet other noise
    than the attack did. A change that draws nothing is passed through and costs no memory.
    """

    def __init__(self) -> None:
        self._kept: dict[bytes, Tensor] = {}
        self._random = False

    def same(
        self, asked: Tensor, change: Callable[[Tensor, Generator], Tensor], run: Run, name: str
    ) -> Tensor:
        """What `change(positions in asked, rng)` gives, or gave when it was first asked."""
        rng = run.generator(name)
        if not len(asked):
            return change(torch.arange(0), rng)
        if not self._random:
            before = rng.get_state()
            result = change(torch.arange(len(asked)), rng)
            if torch.equal(rng.get_state(), before):
                return result
            self._random = True
        keys = [hashlib.sha256(row.numpy().tobytes()).digest() for row in asked.detach().cpu()]
        fresh: dict[bytes, int] = {}
        for i, key in enumerate(keys):
            if key not in self._kept:
                fresh.setdefault(key, i)
        if fresh:
            stream = run.generator(name, hashlib.sha256(b"".join(fresh)).hexdigest())
            made = change(torch.tensor(list(fresh.values())), stream)
            self._kept.update(zip(fresh, made, strict=True))
        result = torch.stack([self._kept[key] for key in keys])
        while len(self._kept) * result[0].numel() > NUMBERS_KEPT:
            del self._kept[next(iter(self._kept))]
        return result


class _Anew(_Memory):
    """Remembers nothing: every call draws from one stream."""

    def __init__(self, rng: Generator) -> None:
        super().__init__()
        self._rng = rng

    def same(
        self, asked: Tensor, change: Callable[[Tensor, Generator], Tensor], run: Run, name: str
    ) -> Tensor:
        """What `change` gives now."""
        return change(torch.arange(len(asked)), self._rng)


@dataclass(frozen=True, eq=False)
class Defended:
    """A target whose inputs pass through a preprocessor first.

    Gradients take the preprocessor for the identity on the way back (BPDA: Athalye, Carlini and
    Wagner 2018, sec. 4.1), so that a change without a useful gradient hides nothing. A random
    change is drawn once per input, from `run`.
    """

    target: Gradients
    change: Change
    run: Run = field(default_factory=Run)
    _memory: _Memory = field(default_factory=_Memory, repr=False)

    @property
    def space(self) -> Any:
        """Valid inputs are those of the target."""
        return self.target.space

    def scores(self, x: Tensor) -> Tensor:
        """Scores of the changed inputs."""
        return self.target.scores(self._changed(x))

    def decode(self, raw: Tensor) -> Tensor:
        """As the target decodes."""
        return self.target.decode(raw)

    def answer(self, x: Tensor) -> Tensor:
        """Answers to the changed inputs."""
        return self.target.answer(self._changed(x))

    def gradient(self, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Gradient:
        """The target's gradient at the changed inputs, as if they had not been changed."""
        return self.behind(self.shield(x), loss)

    def shield(self, x: Tensor) -> Tensor:
        """The changed inputs, as the model behind sees them."""
        return self._changed(x)

    def behind(self, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Gradient:
        """The model's own gradient at inputs that are not changed any more."""
        return self.target.gradient(x, loss)

    def fresh(self, rng: Generator) -> Self:
        """The same defence without a memory: every pass draws anew from `rng`."""
        inner = self.target.fresh(rng) if isinstance(self.target, Redrawn) else self.target
        return replace(self, target=inner, _memory=_Anew(rng))

    def _changed(self, x: Tensor) -> Tensor:
        def change(rows: Tensor, rng: Generator) -> Tensor:
            return self.change.apply(x[rows], rng)

        return self._memory.same(x, change, self.run, "defended")


@dataclass(frozen=True, eq=False)
class Filtered:
    """A target whose probabilities pass through an output filter before anyone sees them.

    Offers answers and scores only: who is filtered has no gradients. Scores are the logarithms of
    the filtered probabilities. A random filter answers the same input the same way every time.
    """

    target: Scores
    filter: OutputFilter
    run: Run = field(default_factory=Run)
    _memory: _Memory = field(default_factory=_Memory, repr=False)

    @property
    def space(self) -> Any:
        """Valid inputs are those of the target."""
        return self.target.space

    def scores(self, x: Tensor) -> Tensor:
        """(N, K) log-probabilities after the filter."""

        def change(rows: Tensor, rng: Generator) -> Tensor:
            return self.filter.filter(self.target.scores(x[rows]).softmax(1), rng)

        return self._memory.same(x, change, self.run, "filtered").clamp(min=TINY).log()

    def decode(self, raw: Tensor) -> Tensor:
        """As the target decodes."""
        return self.target.decode(raw)

    def answer(self, x: Tensor) -> Tensor:
        """Answers that follow from the filtered scores."""
        return self.decode(self.scores(x))


@dataclass(frozen=True, eq=False)
class Averaged:
    """Several targets attacked as one: the gradient is the mean of theirs.

    Scores and answers are those of the first, the one that is to be misled.
    """

    targets: tuple[Gradients, ...]

    @property
    def space(self) -> Any:
        """Valid inputs are those of the first target."""
        return self.targets[0].space

    def scores(self, x: Tensor) -> Tensor:
        """Scores of the first target."""
        return self.targets[0].scores(x)

    def decode(self, raw: Tensor) -> Tensor:
        """As the first target decodes."""
        return self.targets[0].decode(raw)

    def answer(self, x: Tensor) -> Tensor:
        """Answers of the first target."""
        return self.targets[0].answer(x)

    def gradient(self, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Gradient:
        """Mean gradient of all, and the scores of the first."""
        each = [target.gradient(x, loss) for target in self.targets]
        mean = torch.stack([one.wrt_input for one in each]).mean(0)
        return Gradient(mean, each[0].raw)
