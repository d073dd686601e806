"""LowProFool under constraints (Ballet et al. 2019)."""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.constraints import Relaxed
from holdfast.core.errors import NotApplicable
from holdfast.core.goal import Goal
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Box, Budget
from holdfast.core.target import Gradients
from holdfast.ops import balls
from holdfast.ops.rows import take


@method(cites="ballet2019", where="sec. 3, alg. 1")
@dataclass(frozen=True)
class TabularConstrained(EvasionAttack[Gradients]):
    r"""Constrained tabular attack (categorical, immutable, monotone).

    LowProFool descends on g(r) = L(f(x + r), t) + lambda || r * v ||, v being how much each column
    matters, and keeps the smallest r that reaches the goal. Here the size of r is counted in
    units of the space's scale, which is range / v, and with u the change of unit size by which the
    linearised loss grows most:

        r_{t+1} = r_t + alpha_t (u_t - lambda r_t),   alpha_t = rate_t / lambda

    so that r tends to size 1 / lambda. lambda rises by `pace` where the goal is reached and falls
    where it is not, row by row: one fixed value suits one scale of scores only. The model is asked
    about valid rows alone: among them the relaxed x + r is projected (whole numbers towards x,
    categories by their largest value, immutable and monotone columns), and gradients pass straight
    through that. At the end r is shortened by bisection.
    """

    measures = ("linf", "l2", "l1")
    minimises = True

    steps: int = hyper(60, "ours: adaptive lambda needs far fewer than the authors' 20,000", low=1)
    reach: float = hyper(0.5, "ours: 1 / lambda at the start, in units of the scale", low=1e-6)
    pace: float = hyper(0.1, "ours: relative change of lambda per step", low=0, high=1)
    rate: float = hyper(0.5, "ours: falls to a tenth by the cosine rule", low=0, high=1)
    halvings: int = hyper(12, "ours: of the bisection at the end", low=0)

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        space = target.space
        if not isinstance(space, Box):
            raise NotApplicable("works on rows of numbers and categories")
        rows = space.strict if isinstance(space, Relaxed) else space
        best, least = torch.zeros_like(x), torch.full((len(x),), torch.inf, device=x.device)
        r, size = torch.zeros_like(x), torch.full_like(least, self.reach)
        for step in range(self.steps):
            adv = rows.project(x + r, x, budget)
            gradient = target.gradient(adv, goal.loss)
            degree = goal.degree(target.decode(gradient.raw))
            reached = degree >= goal.threshold
            far = rows.distance(adv, x, budget.measure)
            nearer = reached & (far < least)
            best = torch.where(balls.rows(nearer, x) > 0, r, best)
            least = torch.where(nearer, far, least)
            keep = yield Candidate(adv, degree)
            x, adv, goal, budget, r, best = take(keep, x, adv, goal, budget, r, best)
            grad, size, reached, least = take(keep, gradient.wrt_input, size, reached, least)
            if step:  # the first pass only looks whether there is anything to do
                size = size * torch.where(reached, 1 - self.pace, 1 + self.pace)
            rate = self.rate * (0.55 + 0.45 * math.cos(math.pi * step / self.steps))
            r = r + rate * (_fill(space, grad, x, size, budget.norm) - r)
        low, high = torch.zeros_like(size), torch.ones_like(size)
        for _ in range(self.halvings):
            middle = (low + high) / 2
            adv = rows.project(x + balls.rows(middle, x) * best, x, budget)
            degree = goal.degree(target.answer(adv))
            reached = degree >= goal.threshold
            low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)
            keep = yield Candidate(adv, degree)
            x, goal, budget, best, low, high = take(keep, x, goal, budget, best, low, high)


def _fill(space: Box, grad: Tensor, x: Tensor, size: Tensor, norm: balls.Norm) -> Tensor:
    """The change of x, of `size` (N,) units, by which a function with gradient `grad` grows most.

    To first order, and within what may be changed. For L1 that is a knapsack: the columns with the
    largest derivatives are filled first. Among categories one change is as good as it is whole:
    it is meant as soon as five sixths of its cost are there (half of them for L2, where a step of
    length one hardly ever spends as much on one category).
    """
    flat = grad.flatten(1)
    low, high = (
        (space.within(torch.full_like(x, end), x) - x).flatten(1) for end in (-torch.inf, torch.inf)
    )
    gain, best = (
        flat * _flat(space.scale, flat),
        torch.zeros_like(x, dtype=torch.long).flatten(1)[:, :0],
    )
    last, count = best, flat.shape[1]
    table = space.strict if isinstance(space, Relaxed) else None
    if table is not None:
        gain, best, last = table.gains(grad, x)
    room = torch.where(gain[:, :count] > 0, high, -low) / _flat(space.scale, flat)
    bound, whole = size.unsqueeze(1), gain.new_ones(len(x), gain.shape[1] - count)
    if table is not None:
        whole = whole / table.group_scale(gain)
    gain[:, count:] *= whole <= bound  # what cannot be paid in full is nothing
    room = torch.cat([room, 1.2 * whole], 1)
    if norm == "linf":
        step = torch.where(gain != 0, bound, 0.0)
    elif norm == "l2":
        step = gain.abs() / balls.rows(balls.size(gain, "l2"), gain).clamp(min=balls.TINY) * bound
    else:
        order = (gain.abs() * (room > 0)).argsort(dim=1, descending=True, stable=True)
        ahead = room.gather(1, order).cumsum(1) - room.gather(1, order)
        step = torch.empty_like(gain).scatter_(1, order, (bound - ahead).clamp(min=0))
        step = step * (gain != 0)
    step = gain.sign() * torch.minimum(step, room)
    if table is not None:
        return table.columns(step, best, last, back=1.0 if norm == "l2" else 0.0)
    return (step * _flat(space.scale, flat)).view_as(x)


def _flat(scale: Tensor | float, like: Tensor) -> Tensor:
    """A scale as (D,), or as one number."""
    scale = torch.as_tensor(scale, dtype=like.dtype, device=like.device)
    return scale.flatten() if scale.ndim else scale
