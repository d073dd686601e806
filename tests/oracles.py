"""What every norm attack must do on linear models, whose minimal change is known exactly.

Inputs lie in the middle of the box and boundaries are near, so that the box never binds.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from holdfast.core.goal import AwayFrom, ToClass
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.engine.evasion import Attacked, attack
from holdfast.ops.balls import Norm
from tests.toys import LinearTarget


def problem(
    shape: tuple[int, ...] = (24,), classes: int = 3, n: int = 16, seed: int = 0,
    spread: float = 0.4,
) -> tuple[LinearTarget, Tensor]:  # fmt: skip
    """A linear model and rows around the middle of the box, none of them close to a boundary.

    Its scores differ by tens, as those of trained nets do, so that the loss looks at the nearest
    rival alone. A larger `spread` puts the rows farther from the boundary; l0 needs one.
    """
    features = int(torch.tensor(shape).prod())
    target = LinearTarget.random(features, classes, seed)
    target = replace(target, weight=10 * target.weight)
    target = replace(target, bias=-target.weight.sum(0) / 2)  # all classes meet in the middle
    rng = torch.Generator().manual_seed(seed + 1)
    x = 0.5 + spread * (torch.rand(8 * n, *shape, generator=rng) - 0.5)
    clear = target.distance(x, "l2") > spread / 20
    return target, x[clear][:n]


def two_class(
    shape: tuple[int, ...] = (24,), n: int = 16, seed: int = 0, spread: float = 0.4
) -> tuple[LinearTarget, Tensor]:
    """The same with two classes, where a targeted attack has a closed form too."""
    return problem(shape, 2, n, seed, spread)


def check_fixed(
    method: Any, norm: Norm, target: LinearTarget, x: Tensor, run: Run | None = None,
    slack: float = 0.05,
) -> Attacked:  # fmt: skip
    """Within a budget per row of 1 + slack times the minimum all rows fall, within 1 - slack none."""
    run, far = run or Run(), target.distance(x, norm)
    goal = AwayFrom(target.answer(x))
    above = attack(method, target, x, goal, Budget(norm, far * (1 + slack)), run)
    below = attack(method, target, x, goal, Budget(norm, far * (1 - slack)), run)
    assert above.success.all(), f"{int((~above.success).sum())} of {len(x)} rows stand"
    assert not below.success.any(), "a row fell inside of its certified ball"
    assert (above.distance <= far * (1 + slack) * (1 + 1e-4) + 1e-6).all()
    return above


def check_minimum(
    method: Any, norm: Norm, target: LinearTarget, x: Tensor, run: Run | None = None,
    slack: float = 0.01,
) -> Attacked:  # fmt: skip
    """Every row falls, at a distance within `slack` of the minimum; exactly at it for l0."""
    run, far = run or Run(), target.distance(x, norm)
    got = attack(method, target, x, AwayFrom(target.answer(x)), Budget(norm, torch.inf), run)
    assert got.success.all(), f"{int((~got.success).sum())} of {len(x)} rows stand"
    ratio = got.distance / far
    assert (ratio > 1 - 1e-4).all(), "nearer than the boundary: the distance is wrong"
    limit = 1.0 if norm == "l0" else 1 + slack
    assert (ratio <= limit + 1e-6).all(), f"worst row {float(ratio.max()):.4f} times the minimum"
    return got


def check_targeted(
    method: Any, norm: Norm, run: Run | None = None, slack: float = 0.05,
    shape: tuple[int, ...] = (24,),
) -> None:  # fmt: skip
    """Two classes: towards the other one costs what leaving one's own costs.

    Towards one's own class nothing need be done, and nothing must be broken by asking.
    """
    target, x = two_class(shape)
    own, far = target.answer(x), target.distance(x, norm)
    goal, run = ToClass(1 - own), run or Run()
    minimal = type(method).minimises
    room: Tensor | float = torch.inf if minimal else far * (1 + slack)
    got = attack(method, target, x, goal, Budget(norm, room), run)
    assert got.success.all(), f"{int((~got.success).sum())} of {len(x)} rows stand"
    assert (target.answer(got.x) == goal.labels).all()
    if minimal:
        assert (got.distance <= far * (1 + slack)).all(), float((got.distance / far).max())
    idle = attack(method, target, x, ToClass(own), Budget(norm, far), run)
    assert idle.success.all()


def check_masked(
    method: Any, norm: Norm, run: Run | None = None, slack: float = 0.05,
    shape: tuple[int, ...] = (24,),
) -> None:  # fmt: skip
    """With a third of the features frozen, those never move, and the minimum is that of the rest."""
    target, x = two_class(shape)
    editable = (torch.arange(x[0].numel()) % 3 > 0).view(shape)
    weight = target.weight * editable.view(-1, 1)
    far = _distance(replace(target, weight=weight), target, x, norm)
    masked = replace(target, space=Box(editable=editable))
    minimal = type(method).minimises
    room: Tensor | float = torch.inf if minimal else far * (1 + slack)
    got = attack(method, masked, x, AwayFrom(target.answer(x)), Budget(norm, room), run or Run())
    assert torch.equal(got.x[:, ~editable], x[:, ~editable])
    assert got.success.all(), f"{int((~got.success).sum())} of {len(x)} rows stand"
    if minimal:
        assert (got.distance <= far * (1 + slack) + 1e-6).all(), float((got.distance / far).max())


def _distance(free: LinearTarget, whole: LinearTarget, x: Tensor, norm: Norm) -> Tensor:
    """Distance when only the features with weight in `free` can move: same gap, smaller slope."""
    raw = whole.scores(x)
    gap = raw.max(1).values - raw.min(1).values
    slope = (free.weight[:, 0] - free.weight[:, 1]).abs()
    if norm == "l0":
        signed = free.weight[:, 0] - free.weight[:, 1]
        way = torch.where(raw.argmax(1) == 0, -1.0, 1.0).view(-1, 1) * signed
        flat = x.flatten(1)
        gain = torch.maximum(way * (1 - flat), way * -flat).sort(dim=1, descending=True).values
        return (gain.cumsum(1) <= gap.view(-1, 1)).sum(1) + 1.0
    dual = {"linf": 1, "l2": 2, "l1": torch.inf}[norm]
    return gap / torch.linalg.vector_norm(slope, dual)
