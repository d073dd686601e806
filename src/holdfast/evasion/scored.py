"""What attacks that see nothing but scores have in common: losses of many points around each row."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, cast

import torch
from torch import Tensor

from holdfast.core.goal import AwayFrom, Goal, ToClass
from holdfast.core.space import Box, Budget
from holdfast.core.target import Scores
from holdfast.ops.estimates import AT_ONCE
from holdfast.ops.losses import phi
from holdfast.ops.rows import take


def unit(target: Scores, x: Tensor) -> Tensor:
    """What counts as one unit of change, so that it broadcasts over `x` (N, ...)."""
    return torch.as_tensor(cast(Box, target.space).scale, dtype=x.dtype, device=x.device)


def free(target: Scores, x: Tensor) -> Tensor:
    """One where an attacker may change something and zero elsewhere, of one input's shape."""
    editable = cast(Box, target.space).editable
    return torch.ones_like(x[:1])[0] if editable is None else editable.to(x)


def margin(goal: Goal, raw: Tensor) -> Tensor:
    """Lead of the best other class where a class is to be left, else the goal's loss: (N,)."""
    classes = isinstance(goal, AwayFrom) and not isinstance(goal, ToClass)
    return cast(AwayFrom, goal).margin(raw) if classes else goal.loss(raw)


def odds(goal: Goal, raw: Tensor) -> Tensor:
    """Log-odds against the label where a class is to be left, else the goal's loss: (N,).

    They grow exactly where cross-entropy does, and their gradient has its direction. But the
    cross-entropy of a model that is sure of itself is rounded to zero, and an attacker would see
    no difference between any two inputs.
    """
    if isinstance(goal, AwayFrom) and not isinstance(goal, ToClass) and raw.ndim == 2:
        return -phi(raw, goal.labels).to(raw.dtype)
    return goal.loss(raw)


@dataclass(frozen=True, eq=False)
class Problem:
    """Rows under attack, with the goal and the budget of each.

    Attributes:
        target: what may be asked.
        x: the clean inputs (N, ...).
        goal: what is wanted of each.
        budget: how far each may be changed.
    """

    target: Scores
    x: Tensor
    goal: Goal
    budget: Budget

    def take(self, keep: Tensor | None) -> Self:
        """The rows `keep`, or all."""
        return type(self)(self.target, *take(keep, self.x, self.goal, self.budget))

    def repeated(self, count: int) -> Self:
        """Every row `count` times, one after the other."""
        return self.take(torch.arange(len(self.x), device=self.x.device).repeat_interleave(count))

    @property
    def space(self) -> Box:
        """Valid inputs."""
        return cast(Box, self.target.space)

    @property
    def unit(self) -> Tensor:
        """What counts as one unit of change."""
        return unit(self.target, self.x)

    @property
    def free(self) -> Tensor:
        """One where something may be changed."""
        return free(self.target, self.x)

    @property
    def eps(self) -> Tensor:
        """The budget as a number that broadcasts over the inputs."""
        return self.budget.rows(self.x)

    def degree(self, adv: Tensor) -> Tensor:
        """How far inputs reach the goal, for one query each."""
        return self.goal.degree(self.target.answer(adv))

    def ask(self, adv: Tensor, of: "Of") -> tuple[Tensor, Tensor]:
        """Loss and degree of inputs, (N,) each, for one query each."""
        raw = self.target.scores(adv)
        return of(self.goal, raw), self.goal.degree(self.target.decode(raw))

    def moved(self, adv: Tensor, way: Tensor) -> Tensor:
        """`adv` after a change by `way`, in units, and back within the budget."""
        return self.space.project(adv + self.unit * way, self.x, self.budget)

    def contest(
        self, members: Tensor, decode: Callable[[Tensor], Tensor], of: "Of"
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Ask for every member of each row's population, at one query each.

        Args:
            members: (N, P, K) genes.
            decode: genes (N, p, K) as valid inputs (N, p, ...).
            of: a loss, which is the fitness.

        Returns:
            Fitness (N, P), the input (N, ...) that reaches the goal best, and its degree (N,).
        """
        found = []
        for part in members.split(max(1, AT_ONCE // max(1, len(members))), 1):
            points = decode(part)
            loss, degree = self.repeated(part.shape[1]).ask(points.flatten(0, 1), of)
            found.append((loss.view(part.shape[:2]), degree.view(part.shape[:2])))
        fitness, degrees = (torch.cat([pair[i] for pair in found], 1) for i in (0, 1))
        top = degrees.amax(1, keepdim=True)
        best = fitness.masked_fill(degrees < top, -torch.inf).argmax(1)
        winner = members.gather(1, best.view(-1, 1, 1).expand(-1, 1, members.shape[2]))
        return fitness, decode(winner).squeeze(1), top.squeeze(1)

    def losses(self, of: "Of") -> Callable[[Tensor], Tensor]:
        """The loss of points (N, P, ...) around the rows, as (N, P).

        Points are brought into the box first, and frozen features are put back: nothing else could
        be sent to a model that checks its inputs. Every point is one query.
        """

        def loss(points: Tensor) -> Tensor:
            n, count = points.shape[:2]
            valid = self.space.within(points, self.x.unsqueeze(1)).flatten(0, 1)
            return self.repeated(count).ask(valid, of)[0].view(n, count)

        return loss


Of = Callable[[Goal, Tensor], Tensor]
"""A loss of scores: `margin` or `odds`."""
