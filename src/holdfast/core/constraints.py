"""Rows of tables: categories, whole numbers, what may not change, and what may only rise or fall."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property

import torch
from torch import Generator, Tensor

from holdfast.core.errors import InputError
from holdfast.core.space import Box, Budget, Measure
from holdfast.ops import balls
from holdfast.ops.trees import Judge, Measured, Reached, into

WHOLE = 5e-5
"""A change this near below a whole number is that number; smaller than the engine's own slack."""


@dataclass(frozen=True, eq=False)
class Rules:
    """What a valid row of D columns is beside its bounds, and what an attacker may do to it.

    Attributes:
        groups: columns that are the 0/1 values of one category each; exactly one of them is 1.
        integers: (D,) Boolean, columns of whole numbers.
        rise: (D,) Boolean, columns that may only rise.
        fall: (D,) Boolean, columns that may only fall.
    """

    groups: tuple[tuple[int, ...], ...] = ()
    integers: Tensor | None = None
    rise: Tensor | None = None
    fall: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Relaxed(Box):
    """The box around a table's rows where categories and whole numbers may be anything between.

    This is what an attack moves in: a gradient step of a tenth of a unit is kept here, and lost
    among valid rows. What may not change does not, and what may only rise does not fall.

    Attributes:
        strict: the space of valid rows.
    """

    strict: "Table" = field(kw_only=True)

    def within(self, x: Tensor, around: Tensor) -> Tensor:
        """Nearest point of the box that may be reached from `around`."""
        low, high = self.strict.room(around)
        moved = torch.minimum(torch.maximum(x - around, low), high)
        return self.clamp(around + moved)

    def distance(self, a: Tensor, b: Tensor, measure: Measure) -> Tensor:
        """(N,) as among valid rows: the largest change within a category counts for it."""
        return self.strict.distance(a, b, measure)

    def project(self, x: Tensor, around: Tensor, budget: Budget) -> Tensor:
        """Nearest point of the ball that may be reached from `around`."""
        if budget.measure == "any":
            return self.within(x, around)
        moved = self._units(x - around) * self.strict.affordable(x, budget)
        if budget.norm == "l1":
            low, high = (self._units(end) for end in self.strict.room(around))
            near = balls.project_l1_box(moved, low, high, budget.eps)
        else:
            near = balls.project(moved, budget.norm, budget.eps)
        return self.within(around + self._scaled(near), around)

    def steepest(self, grad: Tensor, at: Tensor, budget: Budget) -> Tensor:
        """Unit step of fastest ascent; within a category from its largest value to the best other.

        Only the difference of two values of a category says what a change between them does.
        """
        gain, best, last = self.strict.gains(grad, at)
        if budget.norm in ("l1", "l0"):
            low, high, _ = self._like(at)
            stuck = ((at <= low) & (grad < 0)) | ((at >= high) & (grad > 0))
            gain[:, : at.shape[1]].masked_fill_(stuck, 0)
        step = balls.steepest(gain, budget.norm)
        return self.strict.columns(step, best, last)


@dataclass(frozen=True, eq=False)
class Table(Box):
    """Valid rows of a table: (N, D) in a box, under rules.

    `project` and `random` give valid rows only; `relaxed` is the space that attacks search in.
    Immutable columns are those that are not `editable`. A change of category counts as one unit of
    its columns' scale, however many 0/1 columns it moves. What a column's change costs is in its
    scale: half the scale is twice the cost.

    Attributes:
        rules: categories, whole numbers and directions.
    """

    rules: Rules = field(default_factory=Rules)

    @classmethod
    def of(
        cls, columns: Sequence[str], box: Box, *, integers: Iterable[str] = (),
        immutable: Iterable[str] = (), rise: Iterable[str] = (), fall: Iterable[str] = (),
        costs: Mapping[str, float] | None = None,
    ) -> "Table":  # fmt: skip
        """A table by names: 0/1 columns named "colour=red" are values of the category "colour".

        Args:
            columns: names, in order; categories may be named by what stands before the "=".
            box: bounds and the scale of one unit, and what is already not editable.
            integers: columns of whole numbers.
            immutable: columns and categories that no attacker can change.
            rise: columns that may only rise, such as an age.
            fall: columns that may only fall.
            costs: what a unit of change counts, 1 where nothing is said.

        Raises:
            InputError: a name that is none, a cost that is not above zero, or a category that is
                to be whole, to rise or to fall.
        """
        names, count = list(columns), len(columns)
        low, high, scale = (
            torch.as_tensor(end, dtype=torch.float32).expand(count).clone()
            for end in (box.low, box.high, box.scale)
        )
        members: dict[str, list[int]] = {}
        for i, name in enumerate(names):
            if "=" in name and float(low[i]) >= 0 and float(high[i]) <= 1:
                members.setdefault(name.partition("=")[0], []).append(i)
        grouped = [i for group in members.values() for i in group]
        low[grouped], high[grouped], scale[grouped] = 0.0, 1.0, 1.0

        def mask(wanted: Iterable[str], categories: bool = False) -> Tensor:
            chosen = torch.zeros(count, dtype=torch.bool)
            for name in wanted:
                chosen[_places(name, names, members)] = True
            if not categories and chosen[grouped].any():
                first = names[int(chosen.nonzero()[0])]
                raise InputError(
                    "a category has no order and is whole as it is", got=first, fix="leave it out"
                )
            return chosen

        for name, cost in (costs or {}).items():
            if not cost > 0:
                raise InputError(f"cost of {name}", got=cost, fix="give a number above zero")
            scale[_places(name, names, members)] /= cost
        editable = ~mask(immutable, categories=True)
        if box.editable is not None:
            editable &= box.editable
        for group in members.values():  # one frozen value freezes the category
            editable[group] = bool(editable[group].all())
        rules = Rules(tuple(map(tuple, members.values())), mask(integers), mask(rise), mask(fall))
        return cls(low, high, scale, editable, rules)

    @cached_property
    def relaxed(self) -> Relaxed:
        """The space that attacks move in."""
        return Relaxed(self.low, self.high, self.scale, self.editable, strict=self)

    @cached_property
    def _members(self) -> Tensor:
        """(G, W) columns of each category, the first one repeated where it has fewer than W."""
        widest = max(map(len, self.rules.groups), default=1)
        rows = [[*group, *[group[0]] * (widest - len(group))] for group in self.rules.groups]
        return torch.tensor(rows, dtype=torch.long).view(-1, widest)

    @cached_property
    def _padding(self) -> Tensor:
        """(G, W) Boolean, the repeated first columns."""
        lengths = torch.tensor([len(group) for group in self.rules.groups], dtype=torch.long)
        return torch.arange(self._members.shape[1]) >= lengths.view(-1, 1)

    def _mask(self, mask: Tensor | None, like: Tensor) -> Tensor:
        empty = torch.zeros(like.shape[1:], dtype=torch.bool)
        return (empty if mask is None else mask).to(like.device)

    def _plain(self, like: Tensor) -> Tensor:
        """(D,) columns that belong to no category."""
        plain = torch.ones(like.shape[1:], dtype=torch.bool, device=like.device)
        plain[self._members.flatten()] = False
        return plain

    def room(self, around: Tensor) -> tuple[Tensor, Tensor]:
        """Smallest and largest change of every value, (N, D) each."""
        low, high, _ = self._like(around)
        down, up = (low - around).clamp(max=0), (high - around).clamp(min=0)
        down = down.masked_fill(self._mask(self.rules.rise, around), 0)
        up = up.masked_fill(self._mask(self.rules.fall, around), 0)
        if self.editable is not None:
            frozen = ~self.editable.to(around.device)
            down, up = down.masked_fill(frozen, 0), up.masked_fill(frozen, 0)
        return down, up

    def affordable(self, x: Tensor, budget: Budget) -> Tensor:
        """(N, D) Boolean: false in categories of which one change alone is beyond the budget."""
        eps = torch.as_tensor(budget.eps, dtype=x.dtype, device=x.device).expand(len(x)).view(-1, 1)
        cheap = 1 / self.group_scale(x) <= eps * (1 + 1e-6)
        able = torch.ones(x.shape, dtype=torch.bool, device=x.device)
        able[:, self._members] = cheap.unsqueeze(2)
        return able

    def gains(self, grad: Tensor, at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What a unit of each change does to a function with gradient `grad`, to first order.

        Returns:
            (N, D + G) derivatives by units of the columns, 0 for those of categories, and by a
            change of each category; (N, G) columns of the best other values, and of the largest.
        """
        values, slope = at[:, self._members], grad[:, self._members]
        last = values.argmax(2, keepdim=True)
        rise = (slope - slope.gather(2, last)).max(2)
        units, change = (
            self._scaled(grad) * self._plain(at),
            rise.values * self.group_scale(at),
        )
        if self.editable is not None:
            editable = self.editable.to(at.device)
            units, change = units * editable, change * editable[self._members[:, 0]]
        columns = self._members.to(at.device).expand(len(at), -1, -1)
        best, last = columns.gather(2, rise.indices.unsqueeze(2)), columns.gather(2, last)
        return torch.cat([units, change], 1), best.squeeze(2), last.squeeze(2)

    def columns(self, step: Tensor, best: Tensor, last: Tensor, back: float = 1.0) -> Tensor:
        """Steps (N, D + G) in units as changes of columns (N, D).

        A category's value `best` rises by its step, and `last` falls by `back` times as much.
        """
        count = step.shape[1] - best.shape[1]
        moved, share = self._scaled(step[:, :count]), step[:, count:] * self.group_scale(step)
        return moved.scatter_add(1, best, share).scatter_add(1, last, -back * share)

    def group_scale(self, like: Tensor) -> Tensor:
        """(G,) unit of each category."""
        scale = torch.as_tensor(self.scale, dtype=like.dtype, device=like.device)
        return scale[self._members[:, 0]] if scale.ndim else scale.expand(len(self._members))

    def violations(self, x: Tensor, around: Tensor | None = None) -> Mapping[str, Tensor]:
        """(N,) Boolean per rule that rows break: bounds, integers, categories, and, seen from
        `around`, immutable, rise and fall.
        """
        values = x[:, self._members].masked_fill(self._padding.to(x.device), 0)
        one = ((values == 0) | (values == 1)).all(2) & (values.sum(2) == 1)
        whole = (x == x.round()) | ~self._mask(self.rules.integers, x)
        broken = {
            "bounds": ~super().contains(x),
            "integers": ~whole.all(1),
            "categories": ~one.all(1),
        }
        if around is not None:
            fixed = self._mask(None if self.editable is None else ~self.editable, x)
            broken["immutable"] = ((x != around) & fixed).any(1)
            broken["rise"] = ((x < around) & self._mask(self.rules.rise, x)).any(1)
            broken["fall"] = ((x > around) & self._mask(self.rules.fall, x)).any(1)
        return broken

    def contains(self, x: Tensor) -> Tensor:
        """(N,) Boolean: finite, within the bounds, whole where they must be, one value each."""
        return ~torch.stack(list(self.violations(x).values())).any(0)

    def distance(self, a: Tensor, b: Tensor, measure: Measure) -> Tensor:
        """(N,) norm of the difference in units of `scale`, where a category counts once."""
        if measure == "any":
            return torch.zeros(len(a), dtype=a.dtype, device=a.device)
        units = self._units(a - b)
        each = units[:, self._members].abs().amax(2)
        return balls.size(torch.cat([units * self._plain(a), each], 1), Budget(measure, 0.0).norm)

    def nearest(self, x: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Nearest valid rows to valid rows x (M, D) in closed boxes, and (M,) where there are any.

        Among the values of a category that a box allows beside the clean one, all are as near.
        """
        whole = self._mask(self.rules.integers, x)
        low, high = torch.where(whole, low.ceil(), low), torch.where(whole, high.floor(), high)
        ends = torch.minimum(torch.maximum(x, low), high)
        point = torch.where(whole, ends, into(x, low, high))
        padding = self._padding.to(x.device)
        must = (low[:, self._members] > 0) & ~padding
        can = (high[:, self._members] >= 1) & ~padding
        clean = x[:, self._members] == 1
        wish = (4 * must.long() + 2 * clean.long() + 1).masked_fill(~can, 0).max(2)
        there = (low <= high).all(1) & ((wish.values > 0) & (must.sum(2) <= 1)).all(1)
        return self._with(point, wish.indices), there

    def snap(self, x: Tensor) -> Tensor:
        """Nearest valid rows: whole numbers by rounding, categories by their largest value."""
        x = self.clamp(x)
        x = torch.where(self._mask(self.rules.integers, x), x.round(), x)
        values = x[:, self._members]
        return self._with(x, values.argmax(2))

    def within(self, x: Tensor, around: Tensor) -> Tensor:
        """Valid rows near x that may be reached from `around`, at any distance."""
        return self.project(x, around, Budget("linf", torch.inf))

    def project(self, x: Tensor, around: Tensor, budget: Budget) -> Tensor:
        """Valid rows within the budget of the valid rows `around`.

        Categories change where another value is larger than the clean one; those that are largest
        by most come first, as long as the budget lasts, and the other columns get the rest of it.
        Whole numbers are rounded towards the clean row, which keeps the ball.
        """
        norm = "linf" if budget.measure == "any" else budget.norm
        eps = torch.as_tensor(
            torch.inf if budget.measure == "any" else budget.eps, dtype=x.dtype, device=x.device
        ).expand(len(x)).unsqueeze(1)  # fmt: skip
        chosen, lead = self._wanted(x, around)
        low, high = self.room(around)
        moved = torch.minimum(torch.maximum(x - around, low), high) * self._plain(x)
        if norm == "l0":
            moved = self._whole(moved)
            strength = torch.cat([self._units(moved).abs(), lead], 1)
            rank = strength.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
            kept = (rank < eps.floor()) & (strength > 0)
            moved, change = moved * kept[:, : x.shape[1]], kept[:, x.shape[1] :]
        else:
            change, rest = self._afford(lead, norm, eps)
            units = self._units(torch.where(self._plain(x), x - around, 0))
            if norm == "l1":
                down, up = (self._units(end * self._plain(x)) for end in (low, high))
                near = balls.project_l1_box(units, down, up, rest.squeeze(1))
            else:
                near = balls.project(units, norm, rest.squeeze(1))
            # a change that fits as it is must not be rounded on the way to units and back
            fits = balls.rows(balls.size(near - units, "linf") == 0, near) > 0
            near = torch.where(fits, x - around, self._scaled(near)) * self._plain(x)
            moved = self._whole(torch.minimum(torch.maximum(near, low), high))
        clean = around[:, self._members].argmax(2)
        return self._with(self.clamp(around + moved), torch.where(change, chosen, clean))

    def random(self, around: Tensor, budget: Budget, rng: Generator) -> Tensor:
        """Valid rows within the budget: noise of the ball, and random values of random categories."""
        if budget.measure == "any":
            return around
        noise = balls.sample(around, budget.norm, budget.eps, rng)
        x = around + self._scaled(noise)
        values = around[:, self._members]
        pull = torch.empty_like(values).uniform_(0, 1, generator=rng)
        best = pull.masked_fill(self._padding.to(x.device), -1).max(2)
        drawn = self._with(x, best.indices)
        order = torch.empty_like(best.values).uniform_(1, 2, generator=rng)  # who comes first
        drawn[:, self._members] *= order.unsqueeze(2)
        return self.project(drawn, around, budget)

    def _wanted(self, x: Tensor, around: Tensor) -> tuple[Tensor, Tensor]:
        """(N, G) value of each category that x is for, and by how much it leads the clean one."""
        values = x[:, self._members]
        clean = around[:, self._members].argmax(2, keepdim=True)
        best = values.max(2)
        lead = best.values - values.gather(2, clean).squeeze(2)
        if self.editable is not None:
            lead = lead * self.editable.to(x.device)[self._members[:, 0]]
        return best.indices, lead

    def _afford(self, lead: Tensor, norm: str, eps: Tensor) -> tuple[Tensor, Tensor]:
        """(N, G) which of the wanted categories the budget lets change, and (N, 1) what is left."""
        costs = 1 / self.group_scale(lead)
        room = eps * (1 + 1e-6)
        if norm == "linf":
            return (lead > 0) & (costs <= room), eps
        power = 2 if norm == "l2" else 1
        order = lead.argsort(dim=1, descending=True, stable=True)
        spent = (costs**power * (lead > 0)).gather(1, order).cumsum(1)
        fits = torch.empty_like(spent).scatter_(1, order, spent) <= room**power
        change = fits & (lead > 0)
        rest = (eps**power - (costs**power * change).sum(1, keepdim=True)).clamp(min=0)
        return change, rest ** (1 / power)

    def _whole(self, moved: Tensor) -> Tensor:
        """Changes of whole numbers, rounded towards none."""
        rounded = moved.sign() * (moved.abs() + WHOLE).floor()
        return torch.where(self._mask(self.rules.integers, moved), rounded, moved)

    def _with(self, x: Tensor, chosen: Tensor) -> Tensor:
        """Rows x with the values `chosen` (N, G) of its categories set to 1 and the others to 0."""
        x = x.clone()
        x[:, self._members.flatten()] = 0
        columns = self._members.to(x.device).expand(len(x), -1, -1)
        return x.scatter(1, columns.gather(2, chosen.unsqueeze(2)).squeeze(2), 1.0)


def judge(space: Box, reached: Reached, measured: Measured) -> Judge:
    """Which rows count in a search through the leaves of trees: the valid ones, on a table."""
    if isinstance(space, Relaxed):
        return Judge(reached, measured, space.strict.nearest, space.strict.snap)
    return Judge(reached, measured)


def _places(name: str, names: list[str], members: Mapping[str, list[int]]) -> list[int]:
    """Positions of a column, or of all values of a category."""
    if name in members:
        return members[name]
    if name in names:
        return [names.index(name)]
    near = get_close_matches(name, [*names, *members], n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "it has " + ", ".join(names[:8])
    raise InputError("the table has no such column", got=repr(name), fix=hint)
