"""What a valid input is, and how far two of them are apart. Spaces own distance and projection."""

from dataclasses import dataclass, replace
from typing import Literal, Protocol, Self, runtime_checkable

import torch
from torch import Generator, Tensor
from typing_extensions import TypeVar

from holdfast.core.errors import InputError
from holdfast.ops import balls
from holdfast.ops.rows import Ragged, pick

Measure = Literal["linf", "l2", "l1", "l0", "words"]
X = TypeVar("X", default=Tensor)


@dataclass(frozen=True)
class Budget:
    """All inputs within distance `eps` of the clean one; `eps` is one number, or (N,) one per row."""

    measure: Measure
    eps: float | Tensor

    def take(self, index: Tensor) -> Self:
        """The budget of the rows `index`."""
        return replace(self, eps=pick(self.eps, index))

    def to(self, device: torch.device | str) -> Self:
        """The same budget on another device."""
        return replace(self, eps=self.eps.to(device)) if isinstance(self.eps, Tensor) else self

    def rows(self, like: Tensor) -> Tensor:
        """`eps` shaped so that it broadcasts over `like`."""
        return balls.rows(self.eps, like)

    @property
    def norm(self) -> balls.Norm:
        """The measure as an Lp norm."""
        if self.measure == "words":
            raise InputError(
                "this space measures by an Lp norm", got="words", fix="use linf, l2, l1 or l0"
            )
        return self.measure


@runtime_checkable
class Space(Protocol[X]):
    """Valid inputs of a target. `project` returns valid inputs within the budget of `around`."""

    def contains(self, x: X) -> Tensor: ...
    def distance(self, a: X, b: X, measure: Measure) -> Tensor: ...
    def project(self, x: X, around: X, budget: Budget) -> X: ...
    def random(self, around: X, budget: Budget, rng: Generator) -> X: ...


@runtime_checkable
class Normed(Space[X], Protocol[X]):
    """A space with a linear structure, where a gradient says which way to go."""

    def steepest(self, grad: Tensor, at: X, budget: Budget) -> Tensor: ...


@dataclass(frozen=True)
class Box:
    """Real-valued inputs between `low` and `high`: images, tables, spectra.

    Bounds are numbers, or tensors of one input's shape (a table's columns differ in range). The
    model's own normalisation lives inside the target, so attacks never know about it.
    """

    low: float | Tensor = 0.0
    high: float | Tensor = 1.0

    def clamp(self, x: Tensor) -> Tensor:
        """Nearest point of the box."""
        low = torch.as_tensor(self.low, dtype=x.dtype, device=x.device)
        high = torch.as_tensor(self.high, dtype=x.dtype, device=x.device)
        return torch.minimum(torch.maximum(x, low), high)

    def contains(self, x: Tensor) -> Tensor:
        """(N,) Boolean: finite and within the bounds."""
        return ((self.clamp(x) == x) & x.isfinite()).flatten(1).all(1)

    def distance(self, a: Tensor, b: Tensor, measure: Measure) -> Tensor:
        """(N,) norm of the difference."""
        return balls.size(a - b, Budget(measure, 0.0).norm)

    def project(self, x: Tensor, around: Tensor, budget: Budget) -> Tensor:
        """Nearest valid input of the ball, or for L2 one that is as good as nearest.

        Clamping keeps the ball, as the box holds `around`.
        """
        if budget.norm == "l1":
            low = torch.as_tensor(self.low, dtype=x.dtype, device=x.device)
            high = torch.as_tensor(self.high, dtype=x.dtype, device=x.device)
            return self.clamp(
                around + balls.project_l1_box(x - around, low - around, high - around, budget.eps)
            )
        near = around + balls.project(x - around, budget.norm, budget.eps)
        return self.clamp(near)

    def random(self, around: Tensor, budget: Budget, rng: Generator) -> Tensor:
        """Uniform in the ball, clamped into the box."""
        return self.clamp(around + balls.sample(around, budget.norm, budget.eps, rng))

    def steepest(self, grad: Tensor, at: Tensor, budget: Budget) -> Tensor:
        """Unit step of fastest ascent; for sparse norms only along coordinates that can still move."""
        if budget.norm in ("l1", "l0"):
            low = torch.as_tensor(self.low, dtype=at.dtype, device=at.device)
            high = torch.as_tensor(self.high, dtype=at.dtype, device=at.device)
            stuck = ((at <= low) & (grad < 0)) | ((at >= high) & (grad > 0))
            grad = grad.masked_fill(stuck, 0)
        return balls.steepest(grad, budget.norm)


@dataclass(frozen=True)
class Waveform:
    """Ragged mono sound in [-1, 1]; padding stays exactly zero."""

    rate: int = 8000

    def contains(self, x: Ragged) -> Tensor:
        """(N,) Boolean: finite, in range, and silent in the padding."""
        inside = (x.data.abs() <= 1) & x.data.isfinite()
        return torch.where(x.mask, inside, x.data == 0).all(1)

    def distance(self, a: Ragged, b: Ragged, measure: Measure) -> Tensor:
        """(N,) norm of the difference over the samples that both have."""
        if not torch.equal(a.length, b.length):
            raise InputError(
                "two sounds must have equal lengths", got="different ones", fix="pad or cut first"
            )
        width = int(a.length.max()) if len(a) else 0
        difference = (a.data[:, :width] - b.data[:, :width]) * a.mask[:, :width]
        return balls.size(difference, Budget(measure, 0.0).norm)

    def project(self, x: Ragged, around: Ragged, budget: Budget) -> Ragged:
        """Into the ball and the range, with the padding silent."""
        near = around.data + balls.project(x.data - around.data, budget.norm, budget.eps)
        return replace(around, data=near.clamp(-1, 1) * around.mask)

    def random(self, around: Ragged, budget: Budget, rng: Generator) -> Ragged:
        """Uniform noise of the ball."""
        noise = balls.sample(around.data, budget.norm, budget.eps, rng)
        return self.project(replace(around, data=around.data + noise), around, budget)

    def steepest(self, grad: Tensor, at: Ragged, budget: Budget) -> Tensor:
        """Unit step of fastest ascent, silent in the padding."""
        return balls.steepest(grad * at.mask, budget.norm)


@dataclass(frozen=True)
class Words:
    """Ragged token ids; a position may change to one of its word's allowed replacements.

    Attributes:
        candidates: (V, C) replacement ids of each of V words, -1 where there are fewer than C.
        padding: id that fills the rows up.
    """

    candidates: Tensor
    padding: int = 0

    def allowed(self, x: Ragged) -> Tensor:
        """(N, L, C) replacement ids of each position, -1 for none and in the padding."""
        return self.candidates.to(x.data.device)[x.data].masked_fill(~x.mask.unsqueeze(2), -1)

    def contains(self, x: Ragged) -> Tensor:
        """(N,) Boolean: known ids, padding in the padding."""
        known = (x.data >= 0) & (x.data < len(self.candidates))
        return torch.where(x.mask, known, x.data == self.padding).all(1)

    def distance(self, a: Ragged, b: Ragged, measure: Measure) -> Tensor:
        """(N,) share of words that differ."""
        if measure != "words":
            raise InputError("distance between texts", got=measure, fix="use the measure 'words'")
        changed = ((a.data != b.data) & a.mask).sum(1)
        return changed / a.length.clamp(min=1)

    def project(self, x: Ragged, around: Ragged, budget: Budget) -> Ragged:
        """Undo replacements that are not allowed, then the last ones until the share fits."""
        fits = (self.allowed(around) == x.data.unsqueeze(2)).any(2) & around.mask
        most = (budget.eps * around.length + 1e-6).floor().view(-1, 1)  # 0.25 * 8 must give 2
        changed = fits & (x.data != around.data)
        changed &= changed.cumsum(1) <= most
        return replace(around, data=torch.where(changed, x.data, around.data))

    def random(self, around: Ragged, budget: Budget, rng: Generator) -> Ragged:
        """Random allowed replacements at random positions, as many as the budget permits."""
        options = self.allowed(around)
        draw = torch.rand(options.shape, generator=rng, device=options.device)
        best = draw.masked_fill(options < 0, -1).argmax(2, keepdim=True)
        words = options.gather(2, best).squeeze(2)
        order = torch.rand(words.shape, generator=rng, device=words.device).masked_fill(
            words < 0, 2
        )
        rank = order.argsort(1).argsort(1)
        most = (budget.eps * around.length + 1e-6).floor().view(-1, 1)
        changed = (words >= 0) & (rank < most)
        return replace(around, data=torch.where(changed, words, around.data))
