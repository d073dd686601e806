"""Auto-PGD: projected gradient descent without a step size to choose (Croce & Hein 2020)."""

import math
from collections.abc import Collection
from collections.abc import Generator as Yields
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Generator, Tensor

from holdfast.core.goal import Goal, ToClass, of_classes
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Box, Budget
from holdfast.core.target import Gradients
from holdfast.ops import balls, losses
from holdfast.ops.ascent import Ascent, checkpoints, on_surface, signs_of_largest
from holdfast.ops.rows import take


@method(cites="croce2020", where="alg. 1; eq. 6, 7")
@dataclass(frozen=True)
class AutoPGD(EvasionAttack[Gradients]):
    r"""Auto-PGD.

    z       = Pi( x_k + eta * steepest( grad L(x_k) ) ),   eta = 2 eps at first
    x_{k+1} = Pi( x_k + 0.75 (z - x_k) + 0.25 (x_k - x_{k-1}) )

    At checkpoints eta is halved, and the search goes on from its best iterate, if the loss rose in
    at most rho of the steps since the last one, or if eta was not halved there and the best loss is
    still the same. L is the cross-entropy, DLR, or targeted DLR on one rival class after another.

    L1 (Croce & Hein 2021, alg. 1) moves the top coordinates by equal parts of eta = eps, without
    momentum. At checkpoints top = |best - x|_0 / 1.5; if that count fell by 5 %, eta is eps again
    and the search returns to its best iterate, else eta is divided by 1.5. The ball shrinks from
    3 eps over 2 eps to eps.
    """

    measures = ("linf", "l2", "l1")

    steps: int = hyper(100, "sec. 5", low=1)
    loss: str = hyper("ce", "eq. 6, 7 for dlr", choices=("ce", "dlr", "dlr-targeted"))
    restarts: int = hyper(1, "AutoAttack's standard version; 5 in L1 with ce", low=1)
    targets: int = hyper(9, "AutoAttack: rival classes of dlr-targeted; 5 in L1", low=1)
    rho: float = hyper(0.75, "sec. 3.1", low=0, high=1)
    shrink: bool = hyper(True, "AutoAttack in L1: radii 3, 2, 1 eps for 30, 30, 40 % of the steps")

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        raw, rivals = target.scores(x), None
        if self.loss == "dlr-targeted" and not isinstance(goal, ToClass):
            rivals = losses.rivals(raw, of_classes(goal).labels, self.targets)
        keep = yield Candidate(x, goal.degree(target.decode(raw)))
        x, goal, budget, rivals = take(keep, x, goal, budget, rivals)
        yield from self.chase(target, x, goal, budget, rivals, rng)

    def chase(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rivals: Tensor | None,
        rng: Generator,
    ) -> Search:  # fmt: skip
        """The ascents: after each of the `rivals` (N, T) in turn where there are any."""
        case: list[Any] = [x, goal, budget, rivals]
        space, phases = cast(Box, target.space), self._phases(budget)
        turns = 1 if rivals is None else rivals.shape[1]
        for turn in range(turns * self.restarts):
            adv = _start(space, case[0], _times(case[2], phases[0][0]), rng)
            for phase in phases:
                s, case = yield from self._climb(target, adv, case, phase, turn // self.restarts)
                adv = s.best

    def _phases(self, budget: Budget) -> list[tuple[int, int]]:
        """(radius in units of eps, steps) of each part of a run."""
        if budget.measure != "l1" or not self.shrink:
            return [(1, self.steps)]
        part = min(math.ceil(0.3 * self.steps), self.steps // 2)
        return [(3, part), (2, part), (1, self.steps - 2 * part)]

    def _climb(
        self, target: Gradients, adv: Tensor, case: list[Any], phase: tuple[int, int], turn: int
    ) -> Yields[Candidate, Tensor | None, tuple[Ascent, list[Any]]]:
        """One ascent from `adv`; proposes nothing while the radius is larger than the budget's."""
        space, (radius, steps), (x, goal, budget, rivals) = cast(Box, target.space), phase, case
        s, review = self._begin(space.project(adv, x, _times(budget, radius)), x, budget, steps)
        before, old = 0, s.adv
        for done in range(steps + 1):
            loss = partial(self._loss, goal, None if rivals is None else rivals[:, turn])
            if done < steps:
                gradient = target.gradient(s.adv, loss)
                s.grad, raw = gradient.wrt_input, gradient.raw
            else:  # nothing moves any more
                raw = target.scores(s.adv)
            s.note(loss(raw))
            if radius == 1:
                keep = yield Candidate(s.adv, goal.degree(target.decode(raw)))
                s, old, goal, budget, rivals = take(keep, s, old, goal, budget, rivals)
            if done in review:
                s.thin() if budget.measure == "l1" else s.halve(done - before, self.rho)
                before = done
            if done < steps:
                ball, here = _times(budget, radius), s.adv
                s.adv, old = _step(space, s, old, ball, 0.75 if done else 1), here
        return s, [s.x, goal, budget, rivals]

    def _begin(
        self, adv: Tensor, x: Tensor, budget: Budget, steps: int
    ) -> tuple[Ascent, Collection[int]]:
        """The state before the first step, and the numbers of steps after which it is reviewed."""
        if budget.measure != "l1":
            return Ascent.begin(x, adv, 2), checkpoints(steps)
        gap = max(int(0.04 * steps), 1)
        top = None if self.shrink else 0.2 * x[:1].numel()
        return Ascent.begin(x, adv, 1, top), range(gap, steps + 1, gap)

    def _loss(self, goal: Goal, wanted: Tensor | None, raw: Tensor) -> Tensor:
        """What is maximised, (N,). Towards a class: its lead over the best other one, scaled."""
        if self.loss == "ce":
            return goal.loss(raw)
        labels = of_classes(goal).labels
        if wanted is not None:
            return losses.targeted_dlr(raw, labels, wanted)
        if not isinstance(goal, ToClass):
            return losses.dlr(raw, labels)
        return losses.targeted_dlr(raw, losses.rivals(raw, labels, 1)[:, 0], labels)


def _step(space: Box, s: Ascent, old: Tensor, ball: Budget, share: float) -> Tensor:
    """The next iterate: `share` of the step, the rest as the last one was."""
    eta = balls.rows(s.step, s.x) * ball.rows(s.x)
    if ball.measure == "l1":
        unit = torch.as_tensor(space.scale, dtype=s.x.dtype, device=s.x.device)
        way = unit * signs_of_largest(unit * s.grad, s.top)
        return space.project(s.adv + eta * way, s.x, ball)
    z = space.project(s.adv + eta * space.steepest(s.grad, s.adv, ball), s.x, ball)
    if share == 1:
        return z
    return space.project(s.adv + share * (z - s.adv) + (1 - share) * (s.adv - old), s.x, ball)


def _start(space: Box, x: Tensor, ball: Budget, rng: Generator) -> Tensor:
    """A random point on the ball's surface; for L1 plain normal noise, as it will be projected."""
    noise = on_surface(x, ball.norm, space.editable, rng)
    unit = torch.as_tensor(space.scale, dtype=x.dtype, device=x.device)
    return x + unit * (noise if ball.measure == "l1" else ball.rows(x) * noise)


def _times(budget: Budget, factor: float) -> Budget:
    return budget if factor == 1 else replace(budget, eps=factor * budget.eps)
