"""Attacks on tables: they search among relaxed rows, and are judged by valid ones."""

from dataclasses import replace
from typing import Any

from torch import Tensor

from holdfast.core.goal import Goal
from holdfast.core.kinds import Search
from holdfast.core.space import Budget
from holdfast.ops.rows import take


def valid(
    search: Search[Any], seen: Any, space: Any, clean: Any, goal: Goal[Any, Any], budget: Budget
) -> Search[Any]:
    """The same search, whose candidates are made valid before anybody counts them.

    A space without a relaxed form leaves the search as it is. Otherwise every candidate is
    projected among valid rows, and those that this changed are asked again, which is charged.

    Args:
        search: what the attack proposes.
        seen: the attack's view of the target.
        space: where valid inputs live.
        clean: the attacked rows.
        goal: what the attacker wants of them.
        budget: how far it may go.
    """
    if getattr(space, "relaxed", None) is None:
        return search
    return _valid(search, seen, space, clean, goal, budget)


def _valid(
    search: Search[Any], seen: Any, space: Any, clean: Any, goal: Any, budget: Budget
) -> Search[Any]:
    keep: Tensor | None = None
    try:
        while True:
            try:
                candidate = search.send(keep)
            except StopIteration:
                return
            if candidate.rows is not None:  # an attack that pools says which rows it means
                around, aim, room = take(candidate.rows, clean, goal, budget)
            else:
                if keep is not None and len(candidate.x) == len(keep):
                    clean, goal, budget = take(keep, clean, goal, budget)
                around, aim, room = clean, goal, budget
            x = space.project(candidate.x, around, room)
            other = (x != candidate.x).flatten(1).any(1).nonzero().flatten()
            degree = candidate.degree.clone()
            if len(other):
                told = aim.take(other).degree(seen.answer(x[other]))
                degree[other] = told.to(degree.dtype)
            keep = yield replace(candidate, x=x, degree=degree)
    finally:
        search.close()
