"""What a valid input is, and how far two of them are apart. Spaces own distance and projection."""

from dataclasses import dataclass, replace
from typing import Literal, Protocol, Self, runtime_checkable

import torch
from torch import Generator, Tensor
from typing_extensions import TypeVar

from holdfast.core.errors import InputError, NotApplicable
from holdfast.ops import balls
from holdfast.ops.rows import Ragged, pick

Measure = Literal["linf", "l2", "l1", "l0", "words", "any"]
"""How change is counted. "any": not at all, as the attack's own parameters bound what it does."""
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
        if self.measure == "words" or self.measure == "any":
            raise InputError(
                "this space measures by an Lp norm", got=self.measure, fix="use linf, l2, l1 or l0"
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


@dataclass(frozen=True, eq=False)
class Box:
    """Real-valued inputs between `low` and `high`: images, tables, spectra.

    Bounds are numbers, or tensors of one input's shape. The model's own normalisation lives inside
    the target, so attacks never know about it.

    Attributes:
        low: smallest valid value.
        high: largest valid value.
        scale: what counts as one unit of change. A table's columns differ in range, so there it is
            each column's range, and a budget of 0.1 means a tenth of it.
        editable: of one input's shape, true where an attacker may change it; None for everywhere.
            Gradients that attacks see are zero elsewhere, so most need not know.
    """

    low: float | Tensor = 0.0
    high: float | Tensor = 1.0
    scale: float | Tensor = 1.0
    editable: Tensor | None = None

    def clamp(self, x: Tensor) -> Tensor:
        """Nearest point of the box."""
        if isinstance(self.low, Tensor) or isinstance(self.high, Tensor):
            low, high, _ = self._like(x)
            return torch.minimum(torch.maximum(x, low), high)
        return x.clamp(self.low, self.high)

    def _clamp(self, x: Tensor) -> Tensor:
        """Like `clamp`, in the memory of `x` where that can be done."""
        if isinstance(self.low, Tensor) or isinstance(self.high, Tensor):
            return self.clamp(x)
        return x.clamp_(self.low, self.high)

    def within(self, x: Tensor, around: Tensor) -> Tensor:
        """Nearest point of the box that equals `around` where nothing may be changed."""
        if self.editable is not None:
            x = torch.where(self.editable.to(x.device), x, around)
        return self.clamp(x)

    def contains(self, x: Tensor) -> Tensor:
        """(N,) Boolean: finite and within the bounds."""
        return ((self.clamp(x) == x) & x.isfinite()).flatten(1).all(1)

    def distance(self, a: Tensor, b: Tensor, measure: Measure) -> Tensor:
        """(N,) norm of the difference, in units of `scale`; zero where change is not counted."""
        if measure == "any":
            return torch.zeros(len(a), dtype=a.dtype, device=a.device)
        return balls.size(self._units(a - b), Budget(measure, 0.0).norm)

    def project(self, x: Tensor, around: Tensor, budget: Budget) -> Tensor:
        """Nearest valid input of the ball, or for L2 one that is as good as nearest.

        Clamping keeps the ball, as the box holds `around`.
        """
        if budget.measure == "any":
            return self.within(x, around)
        if self.editable is not None:
            x = torch.where(self.editable.to(x.device), x, around)
        moved = self._units(x - around)
        if budget.norm in ("l1", "l0"):
            low, high, scale = self._like(x)
            sparse = balls.project_l1_box if budget.norm == "l1" else balls.project_l0_box
            near = sparse(moved, (low - around) / scale, (high - around) / scale, budget.eps)
        else:
            near = balls.project(moved, budget.norm, budget.eps)
        # in place, as `near` is fresh: a step of an attack is little else than such passes
        return self._clamp(self._scaled(near).add_(around))

    def random(self, around: Tensor, budget: Budget, rng: Generator) -> Tensor:
        """Uniform in the ball, clamped into the box; the input itself where change is not counted."""
        if budget.measure == "any":
            return around
        noise = balls.sample(around, budget.norm, budget.eps, rng)
        return self.within(around + self._scaled(noise), around)

    def steepest(self, grad: Tensor, at: Tensor, budget: Budget) -> Tensor:
        """Unit step of fastest ascent; for sparse norms only along coordinates that can move."""
        if self.editable is not None:
            grad = grad * self.editable.to(grad.device)
        if budget.norm in ("l1", "l0"):
            low, high, _ = self._like(at)
            stuck = ((at <= low) & (grad < 0)) | ((at >= high) & (grad > 0))
            grad = grad.masked_fill(stuck, 0)
        return self._scaled(balls.steepest(self._scaled(grad), budget.norm))

    def reach(self, at: Tensor) -> tuple[Tensor, Tensor]:
        """Least and largest change of every feature of `at`, in units; zero where it is frozen."""
        low, high, scale = self._like(at)
        down, up = (low - at) / scale, (high - at) / scale
        if self.editable is not None:
            down, up = (v * self.editable.to(at.device) for v in (down, up))
        return down, up

    def scaled(self, d: Tensor) -> Tensor:
        """A change in units as one of inputs; also a gradient in inputs as one in units."""
        return self._scaled(d)

    def units(self, d: Tensor) -> Tensor:
        """A change of inputs in units."""
        return self._units(d)

    def _scaled(self, d: Tensor) -> Tensor:
        """A change in units as one of inputs; free of work where both are the same."""
        one = not isinstance(self.scale, Tensor) and self.scale == 1
        return d if one else self._like(d)[2] * d

    def _units(self, d: Tensor) -> Tensor:
        """A change of inputs in units."""
        one = not isinstance(self.scale, Tensor) and self.scale == 1
        return d if one else d / self._like(d)[2]

    def _like(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Bounds and scale with the type and the device of `x`."""
        low, high, scale = (
            torch.as_tensor(v, dtype=x.dtype, device=x.device)
            for v in (self.low, self.high, self.scale)
        )
        return low, high, scale


def of_box(space: object) -> Box:
    """The space as a box, for attacks that look at its bounds.

    Raises:
        NotApplicable: it is another kind of space.
    """
    if not isinstance(space, Box):
        raise NotApplicable("works on inputs of one shape between bounds")
    return space


@runtime_checkable
class Discrete(Space[X], Protocol[X]):
    """A space of symbols, where a change is a replacement by an allowed one."""

    def allowed(self, x: X) -> Tensor: ...
    def room(self, x: X, budget: Budget) -> Tensor: ...


@dataclass(frozen=True)
class Waveform:
    """Ragged mono sound in [-1, 1]; padding stays exactly zero.

    What counts is what a file can hold: projected sounds lie on the grid of `bits`-bit samples,
    rounded towards the clean sound, which lies on it as well, so that rounding keeps the ball.

    Attributes:
        rate: samples per second.
        bits: of one sample; None for a model that is fed real numbers.
    """

    rate: int = 8000
    bits: int | None = 16

    def snap(self, x: Tensor, towards: Tensor) -> Tensor:
        """The nearest samples that a file can hold and that lie no farther from `towards`."""
        if self.bits is None:
            return x.clamp(-1, 1)
        units = float(1 << (self.bits - 1))
        level = torch.where(x >= towards, (x * units).floor(), (x * units).ceil())
        return level.clamp(-units, units - 1) / units

    def contains(self, x: Ragged) -> Tensor:
        """(N,) Boolean: finite, samples that a file can hold, and silent in the padding."""
        inside = (self.snap(x.data, x.data) == x.data) & x.data.isfinite()
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
        moved = (x.data - around.data) * around.mask
        near = around.data + balls.project(moved, budget.norm, budget.eps)
        return replace(around, data=self.snap(near, around.data) * around.mask)

    def random(self, around: Ragged, budget: Budget, rng: Generator) -> Ragged:
        """Noise of the ball: uniform for Linf; of the full size in L2 and L1."""
        noise = balls.sample(around.data, budget.norm, budget.eps, rng) * around.mask
        if budget.norm in ("l2", "l1"):  # the share of the noise that fell on padding is given back
            size = balls.size(noise, budget.norm).clamp(min=balls.TINY)
            noise = noise * budget.rows(noise) / balls.rows(size, noise)
        return self.project(replace(around, data=around.data + noise), around, budget)

    def steepest(self, grad: Tensor, at: Ragged, budget: Budget) -> Tensor:
        """Unit step of fastest ascent, silent in the padding."""
        return balls.steepest(grad * at.mask, budget.norm)


@dataclass(frozen=True, eq=False)
class Words:
    """Ragged token ids, 0 being padding; a word may change to one of its allowed replacements.

    Attributes:
        candidates: (V, C) replacement ids of each of V words, -1 where there are fewer than C.
    """

    candidates: Tensor

    def allowed(self, x: Ragged) -> Tensor:
        """(N, L, C) replacement ids of each position, -1 for none and in the padding."""
        return self.candidates.to(x.data.device)[x.data].masked_fill(~x.mask.unsqueeze(2), -1)

    def contains(self, x: Ragged) -> Tensor:
        """(N,) Boolean: known ids, padding in the padding."""
        known = (x.data >= 0) & (x.data < len(self.candidates))
        return torch.where(x.mask, known, x.data == 0).all(1)

    def room(self, x: Ragged, budget: Budget) -> Tensor:
        """(N,) how many words of each row the budget lets change: a share of its length."""
        share = torch.as_tensor(budget.eps, device=x.length.device).double().clamp(max=1)
        return (share * x.length + 1e-6).floor().long()  # 0.1 * 30 must give 3

    def distance(self, a: Ragged, b: Ragged, measure: Measure) -> Tensor:
        """(N,) share of words that differ."""
        if measure != "words":
            raise InputError("distance between texts", got=measure, fix="use the measure 'words'")
        changed = ((a.data != b.data) & a.mask).sum(1)
        return changed / a.length.clamp(min=1)

    def project(self, x: Ragged, around: Ragged, budget: Budget) -> Ragged:
        """Undo replacements that are not allowed, then the last ones until the share fits."""
        fits = (self.allowed(around) == x.data.unsqueeze(2)).any(2) & around.mask
        changed = fits & (x.data != around.data)
        changed &= changed.cumsum(1) <= self.room(around, budget).view(-1, 1)
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
        changed = (words >= 0) & (rank < self.room(around, budget).view(-1, 1))
        return replace(around, data=torch.where(changed, words, around.data))
