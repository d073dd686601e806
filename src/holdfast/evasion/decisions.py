"""What all decision-based attacks share: a starting point per row, and the rows that go on from it."""

import math
from collections.abc import Generator as Flow
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import torch
from torch import Generator, Tensor

from holdfast.core.errors import NotApplicable
from holdfast.core.goal import Goal
from holdfast.core.kinds import Candidate
from holdfast.core.space import Box, Budget
from holdfast.core.target import Answers
from holdfast.ops import balls, dct
from holdfast.ops.boundary import Boundary, Draw, start
from holdfast.ops.rows import put, take

OTHERS = 255
"""How many other inputs are looked at for the nearest one that is answered as wanted."""
WIDTH = 2e-6
"""Relative width to which g is known (authors' code of Cheng et al.: beta / 500)."""
CLOSE = 1e-4
"""Relative change of g to be expected right beside a direction, where its slope is probed."""
BEYOND = 1e-4
"""Points are shown by this part farther out: g is known so well that another batch size may differ."""
SEARCHES, LEAST_STEP = 15, 1e-4
"""Of their line search: most doublings and quarterings, and the step that counts as tiny."""


@dataclass(eq=False)
class Hunt:
    """Rows with a point beyond the boundary, and behind them the others, which only wait.

    What a method sees are the M rows that go on, in units of change (`Box.scale`). Points move from
    clean inputs `x` towards where `edge.reached` holds.

    Attributes:
        x: clean inputs (M, ...).
        edge: their decision boundary, whose rows are 0 to M - 1.
        adv: points (M, ...) where the goal is reached, to start from.
    """

    target: Answers
    goal: Goal
    budget: Budget
    unit: Tensor
    clean: Tensor
    shown: Tensor
    degree: Tensor
    live: Tensor

    def __post_init__(self) -> None:
        self._focus()

    def _focus(self) -> None:
        """Look at the live rows only."""
        self.x, self.adv = self.clean[self.live], self.shown[self.live]
        self.edge = edge(self.target, self.goal.take(self.live), self.budget, self.unit, self.x)

    @property
    def rows(self) -> Tensor:
        """Positions 0 to M - 1, as `edge` wants them."""
        return torch.arange(len(self.live), device=self.live.device)

    def distance(self, adv: Tensor) -> Tensor:
        """(M,) distance of points from their clean inputs."""
        return balls.size(adv - self.x, self.budget.norm)

    def seen(self, adv: Tensor) -> Tensor:
        """(M,) distance of the valid points nearest to `adv`, which are what the target is asked."""
        return self.distance(self.edge.within(adv, self.rows))

    def candidate(self, adv: Tensor) -> Candidate:
        """All rows, with `adv` (M, ...) for those that go on."""
        self.shown = put(self.shown, self.live, adv)
        space = cast(Box, self.target.space)
        return Candidate(space.within(self.shown * self.unit, self.clean * self.unit), self.degree)

    def show(self, adv: Tensor, *state: Any) -> Flow[Candidate, Tensor | None, list[Any]]:
        """Yield points where the goal was seen reached; returns `adv` and `state` of the rows left."""
        keep = yield self.candidate(adv)
        if keep is None:
            return [adv, *state]
        keep = keep.to(self.live.device)
        stay = torch.isin(self.live, keep).nonzero().flatten()
        self.live = torch.isin(keep, self.live).nonzero().flatten()
        self.clean, self.shown, self.degree, self.goal = take(
            keep, self.clean, self.shown, self.degree, self.goal
        )
        self._focus()
        left: list[Any] = take(stay, adv, *state)
        return left


def begin(
    target: Answers, x: Tensor, goal: Goal, budget: Budget, rng: Generator, trials: int = 100
) -> Flow[Candidate, Tensor | None, Hunt]:
    """Find starting points, after yielding the inputs themselves, which may reach the goal already.

    Rows for which `trials` guesses failed wait at their clean input.

    Raises:
        NotApplicable: inputs without bounds, between which first guesses could be drawn.
    """
    space = cast(Box, target.space)
    told = target.answer(x)
    degree = goal.degree(told)
    other = nearest_other(space, x, told, goal, budget)
    keep = yield Candidate(x, degree)
    everyone = x
    x, degree, goal, other = take(keep, x, degree, goal, other)
    low, high, unit = (
        torch.as_tensor(v, dtype=x.dtype, device=x.device)
        for v in (space.low, space.high, space.scale)
    )
    if not (low.isfinite().all() and high.isfinite().all()):
        raise NotApplicable("needs inputs with bounds, to draw its first guesses between them")
    clean = x / unit
    frontier = edge(target, goal, budget, unit, clean)
    rows = (degree < goal.threshold).nonzero().flatten()
    hint, box = (everyone[other] / unit, other >= 0), (low / unit, high / unit)
    adv, live = start(frontier, clean, rows, hint, box, rng, trials)
    degree = degree.index_fill(0, live, goal.threshold)
    return Hunt(target, goal, budget, unit, clean, adv, degree, live)


def nearest_other(space: Box, x: Tensor, told: Any, goal: Goal, budget: Budget) -> Tensor:
    """(N,) for each row the nearest other one whose answer is what the row wants, -1 for none.

    It costs no query: the inputs have all been answered. Shifting all rows at once compares each
    with every other one without holding all pairs in memory.
    """
    place = torch.arange(len(x), device=x.device)
    best, size = torch.full_like(place, -1), torch.full((len(x),), torch.inf, device=x.device)
    for shift in range(1, min(len(x), OTHERS + 1)):
        other = place.roll(shift)
        far = space.distance(x[other], x, budget.measure)
        wanted = (goal.degree(take(other, told)[0]) >= goal.threshold) & (far < size)
        best, size = torch.where(wanted, other, best), torch.where(wanted, far, size)
    return best


def hops(
    hunt: Hunt, iterations: int, initial: int, maximum: int, rng: Generator,
    draw: Draw | None = None,
) -> Flow[Candidate, Tensor | None, None]:  # fmt: skip
    """The loop of HopSkipJump; `draw` says which noise its estimate of the normal is made of.

    For L2, points are kept as they were before they are brought into the box: a feature that was
    pushed beyond its bound stays there, and the noise of the estimate does not pull it back in.
    """
    adv, euclidean = hunt.adv, hunt.budget.norm == "l2"
    for t in range(1, iterations + 1):
        if not len(adv):
            return
        delta = hunt.seen(adv) / hunt.edge.dims
        adv = hunt.edge.search(hunt.x, adv, hunt.rows)
        adv, delta = yield from hunt.show(adv, delta)
        count = min(int(initial * math.sqrt(t)), maximum)
        ray = balls.steepest(adv - hunt.x, "l2") if euclidean else None
        way = hunt.edge.normal(adv, hunt.rows, delta, count, rng, draw, ray)
        length = hunt.seen(adv) / math.sqrt(t)
        adv = hunt.edge.step(adv, hunt.rows, balls.steepest(way, hunt.budget.norm), length)
        adv = adv if euclidean else hunt.edge.within(adv, hunt.rows)
    adv = hunt.edge.search(hunt.x, adv, hunt.rows)
    yield hunt.candidate(adv)


@dataclass(frozen=True, eq=False)
class Rays:
    """A direction per row, along which the boundary is met: what both OPT attacks move.

    Attributes:
        theta: unit directions (M, ...).
        g: (M,) lengths at which the goal was seen reached.
        alpha: (M,) step that the next descent tries first.
        eps: (M,) how far beside theta the slope is probed.
    """

    theta: Tensor
    g: Tensor
    alpha: Tensor
    eps: Tensor

    @classmethod
    def first(cls, hunt: Hunt, alpha: float, eps: float, starts: int, rng: Generator) -> Self:
        """Towards the starting points, or the nearest of `starts` random directions beside them."""
        guess = hunt.distance(hunt.adv)
        theta = balls.steepest(hunt.adv - hunt.x, "l2")
        rays = cls(theta, guess, torch.full_like(guess, alpha), torch.full_like(guess, eps))
        rays = replace(rays, g=rays.length(hunt, theta, guess, hunt.rows).minimum(guess))
        for _ in range(starts if len(guess) else 0):
            theta = hunt.edge.noise(rays.theta, rng)
            g = rays.length(hunt, theta, rays.g, hunt.rows)
            rays = rays.where(rays.g <= g, replace(rays, theta=theta, g=g))
        return rays

    def points(self, hunt: Hunt) -> Tensor:
        """Just beyond where the rays meet the boundary, so that rounding does not undo it."""
        length = balls.rows(self.g * (1 + BEYOND), hunt.x)
        return hunt.edge.within(hunt.x + length * self.theta, hunt.rows)

    def show(self, hunt: Hunt) -> Flow[Candidate, Tensor | None, Self]:
        """Yield the points; returns the rays of the rows that are left."""
        _, *left = yield from hunt.show(self.points(hunt), self.theta, self.g, self.alpha, self.eps)
        return type(self)(*left)

    def recalled(self, hunt: Hunt, share: float, rng: Generator) -> Self:
        """Rays to the same valid points, on which a `share` of the features beyond bounds is there.

        Those features lie right on their bounds then, so that a probe of them is answered again.
        """
        ray = balls.rows(self.g, self.theta) * self.theta
        inside = hunt.edge.within(hunt.x + ray, hunt.rows) - hunt.x
        back = torch.rand(ray.shape, generator=rng, device=ray.device) < share
        ray = torch.where(back, inside, ray)
        return replace(self, theta=balls.steepest(ray, "l2"), g=balls.size(ray, "l2"))

    def where(self, mask: Tensor, other: Self) -> Self:
        """These directions for the rows of `mask`, the other ones elsewhere."""
        theta = torch.where(balls.rows(mask, self.theta) > 0, self.theta, other.theta)
        return replace(self, theta=theta, g=torch.where(mask, self.g, other.g))

    def length(
        self, hunt: Hunt, theta: Tensor, guess: Tensor, rows: Tensor, beside: bool = False
    ) -> Tensor:
        """Boundary along other directions of the rows `rows`, inf where it is not near the guess.

        Where they are right `beside` the directions of the guess, it is as near, on either side.
        """

        def path(length: Tensor, which: Tensor) -> Tensor:
            point = hunt.x[rows[which]] + balls.rows(length, theta) * theta[which]
            return hunt.edge.within(point, rows[which])

        return hunt.edge.radius(path, guess, rows, WIDTH, beside, CLOSE if beside else 0.01)

    def descend(self, hunt: Hunt, slope: Tensor) -> Self:
        """Along -slope: the step doubles while g sinks, or is quartered until it does.

        Where steps have become tiny, they start at one again and the slope is probed nearer by.
        """
        theta, g, alpha, left = self.theta, self.g, self.alpha, hunt.rows
        for factor in (2.0, 0.25):
            for _ in range(SEARCHES):
                if not len(left):
                    break
                if factor < 1:
                    alpha = put(alpha, left, alpha[left] * factor)
                step = balls.rows(alpha[left], slope) * slope[left]
                way = balls.steepest(self.theta[left] - step, "l2")
                length = self.length(hunt, way, g[left], left)
                if factor > 1:
                    alpha = put(alpha, left, alpha[left] * factor)
                won = length < g[left]
                theta, g = put(theta, left[won], way[won]), put(g, left[won], length[won])
                left = left[won] if factor > 1 else left[~won]
            left = (g >= self.g).nonzero().flatten()
        tiny = alpha < LEAST_STEP
        eps = torch.where(tiny, (self.eps * 0.1).clamp(min=LEAST_STEP), self.eps)
        return type(self)(theta, g, alpha.masked_fill(tiny, 1.0), eps)


def low_frequencies(share: float) -> Draw:
    """Noise in the lowest `share` of the frequencies along each side of an image.

    At least four along a side, where there are as many: fewer waves make no picture. Inputs that are
    no images (N, C, H, W) get noise in all features.
    """

    def draw(like: Tensor, rng: Generator) -> Tensor:
        if like.ndim != 4:
            return torch.empty_like(like).normal_(generator=rng)
        height, width = like.shape[-2:]
        high, wide = (coarse(side, share) for side in (height, width))
        waves = like.new_empty(*like.shape[:2], high, wide).normal_(generator=rng)
        return dct.basis(height, like)[:high].T @ waves @ dct.basis(width, like)[:wide]

    return draw


def coarse(side: int, share: float) -> int:
    """`share` of the pixels of a side, at least four where there are as many."""
    return max(min(4, side), math.ceil(side * share))


def edge(target: Answers, goal: Goal, budget: Budget, unit: Tensor, x: Tensor) -> Boundary:
    """The boundary of the goal's region around `x`, in units of change."""
    space, clean, same = cast(Box, target.space), x * unit, bool((unit == 1).all())

    def inputs(points: Tensor, rows: Tensor) -> Tensor:
        return space.within(points if same else points * unit, clean[rows])

    def within(points: Tensor, rows: Tensor) -> Tensor:
        return inputs(points, rows) if same else inputs(points, rows) / unit

    def reached(points: Tensor, rows: Tensor) -> Tensor:
        return goal.take(rows).degree(target.answer(inputs(points, rows))) >= goal.threshold

    free = None if space.editable is None else space.editable.to(x.device, x.dtype)
    dims = x[:1].numel() if free is None else int(free.sum())
    return Boundary(reached, within, budget.norm, dims, free)
