"""Attacks that get past a hidden gradient, tried on a few rows so that the strongest is used on all."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Self, cast

import torch
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy

from holdfast.core.errors import NeedsError, NotApplicable
from holdfast.core.goal import AwayFrom
from holdfast.core.kinds import EvasionAttack
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.core.target import Gradient, Gradients, Redrawn
from holdfast.engine.lookup import registered
from holdfast.ops import surrogates
from holdfast.targets.straight import straightened
from holdfast.targets.torch import TorchClassifier

NEIGHBOURS = 12
"""Points around an input whose gradients are averaged."""
DRAWS = 16
"""Draws of a random defence per gradient."""
QUERIES = 600
"""How often a black-box attack may ask about an input."""
PUPIL = 1024
"""A third of the inputs whose scores a surrogate learns from."""
LESSONS = 600
"""Training steps of a surrogate."""


@dataclass(frozen=True, eq=False)
class Margin(AwayFrom):
    """Make a classifier leave `labels`, by the margin: it saturates nowhere, whatever the scale."""

    def loss(self, raw: Tensor) -> Tensor:
        """Best other score minus the label's: (N, K) -> (N,)."""
        return self.margin(raw)


@dataclass(frozen=True, eq=False)
class Given:
    """The target as it is; where it cuts gradients off, they are zero instead of an error.

    Attributes:
        target: the classifier.
        passes: rows sent forward and backward, counted here, as some attacks below make many
            passes of the target for what the engine takes for one.
    """

    target: Gradients
    passes: list[int] = field(default_factory=lambda: [0, 0], kw_only=True)

    @property
    def space(self) -> Any:
        """Valid inputs are those of the target."""
        return self.target.space

    def scores(self, x: Tensor) -> Tensor:
        """As the target scores."""
        self.passes[0] += len(x)
        return self.target.scores(x)

    def decode(self, raw: Tensor) -> Tensor:
        """As the target decodes."""
        return self.target.decode(raw)

    def answer(self, x: Tensor) -> Tensor:
        """As the target answers."""
        self.passes[0] += len(x)
        return self.target.answer(x)

    def gradient(self, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Gradient:
        """The target's gradient, or zero."""
        self.passes[0] += len(x)
        self.passes[1] += len(x)
        try:
            return self.target.gradient(x, loss)
        except NeedsError:
            return Gradient(torch.zeros_like(x), self.target.scores(x))

    def fresh(self, rng: Generator) -> Self:
        """The same with new draws in every pass, where the target remembers its draws."""
        if not isinstance(self.target, Redrawn):
            return self
        return replace(self, target=self.target.fresh(rng))


@dataclass(frozen=True, eq=False)
class Guided(Given):
    """The target, with the gradients of `guide`: BPDA with a stand-in for the whole model."""

    guide: Gradients

    def gradient(self, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Gradient:
        """The guide's gradient, and what the target itself says."""
        return Gradient(self.guide.gradient(x, loss).wrt_input, self.scores(x))


@dataclass(frozen=True, eq=False)
class Smoothed(Given):
    """Gradients averaged over the neighbourhood: those of the target convolved with noise."""

    eps: float
    budget: Budget
    rng: Generator
    samples: int = NEIGHBOURS

    def gradient(self, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Gradient:
        """Mean gradient of `samples` points of the ball of radius `eps`."""
        many = x.repeat_interleave(self.samples, 0)
        near = self.space.random(many, replace(self.budget, eps=self.eps), self.rng)
        shape = (len(x), self.samples)

        def each(raw: Tensor) -> Tensor:
            split = raw.view(*shape, *raw.shape[1:])
            return torch.stack([loss(one) for one in split.unbind(1)], 1).flatten()

        grad = super().gradient(near, each).wrt_input
        return Gradient(grad.view(*shape, *x.shape[1:]).mean(1), self.scores(x))


@dataclass(frozen=True, eq=False)
class Adaptive:
    """One way past a defence: attack `victim` with `method`; what counts is the target's answer."""

    name: str
    method: EvasionAttack[Any]
    victim: Gradients


def ways(given: Given, x: Tensor, budget: Budget, random: bool, run: Run) -> Iterator[Adaptive]:
    """Every adaptive attack that can be made of this target; `x` are rows to learn from.

    Black-box attacks are those that are loaded (`evasion/square`, `evasion/nes`).
    """
    target, pgd, base = given.target, registered("evasion/pgd")(), given
    mended = straightened(target, x) if isinstance(target, TorchClassifier) else None
    yield Adaptive("PGD on the margin", pgd, given)
    if mended is not None:
        base = Given(mended, passes=given.passes)
        yield Adaptive("BPDA", pgd, base)
    if random:
        eot = _loaded("evasion/eot", samples=DRAWS)
        if eot is not None:
            yield Adaptive("EOT" if mended is None else "BPDA and EOT", eot, base)
    else:
        around = 0.5 * float(budget.eps), budget, run.generator("neighbours")
        smooth = Smoothed(base.target, *around, passes=given.passes)
        yield Adaptive("smoothed gradients", pgd, smooth)
    guided = Guided(target, taught(given, x, budget, run), passes=given.passes)
    yield Adaptive("learned surrogate (BPDA)", pgd, guided)
    # a step of NES asks fifty times, one of Square once
    for id_, steps in {"square": QUERIES, "nes": max(1, QUERIES // 50)}.items():
        black = _loaded(f"evasion/{id_}", steps=steps)
        if black is not None and budget.measure in black.measures:
            yield Adaptive(f"black box ({id_})", black, given)


def _loaded(id_: str, **settings: int) -> EvasionAttack[Any] | None:
    """A method that was loaded, or None."""
    try:
        found: EvasionAttack[Any] = registered(id_)(**settings)
    except NotApplicable:
        return None
    return found


def taught(target: Given, x: Tensor, budget: Budget, run: Run) -> TorchClassifier:
    """A smooth network that gives the target's scores on and around the rows `x`.

    It learns from the rows, from points of the ball and of one of twice its radius, and from
    points between rows. Scores are learned as probabilities after division by their spread, so
    that it does not matter how large they are.
    """
    rng, space = run.generator("surrogate"), target.space
    rows = torch.randint(len(x), (PUPIL,), generator=rng, device=x.device)
    others = rows[torch.randperm(PUPIL, generator=rng, device=x.device)]
    share = torch.rand(PUPIL, generator=rng, device=x.device).view(-1, *[1] * (x.ndim - 1))
    between = x[rows] + 0.5 * share * (x[others] - x[rows])
    ball, twice = budget, replace(budget, eps=2 * float(budget.eps))
    near = [(x[rows], ball), (x[rows], twice), (between, ball)]
    asked = torch.cat([x, *(space.random(points, room, rng) for points, room in near)])
    raw = torch.cat([target.scores(part) for part in asked.split(run.batch_size)])
    soft = (3 * raw / raw.std().clamp(min=1e-6)).softmax(1)
    shape, classes = tuple(x.shape[1:]), raw.shape[1]
    net = surrogates.seeded(lambda: surrogates.classifier(shape, classes), rng)
    surrogates.fit(net, asked, soft, cross_entropy, LESSONS, rng)
    return TorchClassifier(net, cast(Box, space))
