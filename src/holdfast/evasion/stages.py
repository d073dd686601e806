"""Attacks made of attacks: run one on some rows under a name, and learn which rows still stand."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from holdfast.core.kinds import Candidate, Search
from holdfast.core.target import Gradient, Gradients
from holdfast.ops.rows import take


def follow(
    search: Search, rows: Tensor, stage: str, *, pooled: bool = False
) -> Generator[Candidate, Tensor | None, Tensor]:
    """Pass on what `search` proposes for `rows` (n,), and what the engine still wants.

    Args:
        search: an attack, just begun, on the inputs that `rows` stand for.
        rows: positions of its inputs.
        stage: name for its candidates.
        pooled: whether the candidates must say which rows they are for.

    Returns:
        The rows that still stand.
    """
    keep: Tensor | None = None
    try:
        while True:
            candidate = search.send(keep)
            if keep is not None and len(candidate.x) == len(keep):  # it dropped the others
                rows = take(keep, rows)[0]
            named = replace(candidate, stage=stage, rows=rows if pooled else None)
            keep = yield named
            if keep is not None and not len(keep):  # others go on, but nobody here
                return rows[:0]
    except StopIteration:
        return take(keep, rows)[0]  # type: ignore[no-any-return]  # rows are a tensor
    finally:
        search.close()


@dataclass(eq=False)
class Watched:
    """A target that remembers the scores of its last pass, so that who runs an attack sees margins."""

    target: Gradients
    raw: Tensor = field(default_factory=lambda: torch.zeros(0))

    @property
    def space(self) -> Any:
        """Valid inputs are those of the target."""
        return self.target.space

    def scores(self, x: Tensor) -> Tensor:
        """The target's scores."""
        self.raw = self.target.scores(x)
        return self.raw

    def decode(self, raw: Tensor) -> Tensor:
        """As the target decodes."""
        return self.target.decode(raw)

    def answer(self, x: Tensor) -> Tensor:
        """The target's answers, from scores."""
        return self.decode(self.scores(x))

    def gradient(self, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Gradient:
        """The target's gradient."""
        found = self.target.gradient(x, loss)
        self.raw = found.raw
        return found
