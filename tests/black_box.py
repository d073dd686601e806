"""What every attack that sees only scores must do: count each query, and beat noise."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.engine.evasion import Attacked, attack
from holdfast.ops.balls import Norm
from tests.oracles import two_class
from tests.toys import LinearTarget


@dataclass(frozen=True)
class Counting(LinearTarget):
    """A linear target with books of its own, which refuses what a real service would refuse."""

    seen: list[int] = field(default_factory=list)

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        assert self.space.contains(x).all(), "a query outside of the box"
        self.seen.append(len(x))
        return super().scores(x)


def check_counted(
    method: Any, norm: Norm, shape: tuple[int, ...] = (8,), eps: float | None = None
) -> Attacked:
    """The ledger equals the target's own books, and no query leaves the box.

    Half of the budget that would be needed, so that the attack runs to its end unless it minimises;
    a `eps` may be given instead. Some inputs lie on the box.
    """
    plain, x = two_class(shape, n=5)
    x = x.clone()
    x[0] = x[0].round()
    target = Counting(plain.weight, plain.bias)
    room: Any = plain.distance(x, norm) / 2 if eps is None else eps
    goal = AwayFrom(plain.answer(x))
    got = attack(method, target, x, goal, Budget(norm, room), Run())
    assert sum(target.seen) == got.forwards + len(x)  # the engine judges once more, uncounted
    assert got.backwards == 0
    return got


def check_done_rows_are_free(method: Any, norm: Norm, eps: float = 0.1) -> None:
    """Inputs that already reach the goal cost one query, which finds that out."""
    target, x = two_class((8,), n=4)
    goal = AwayFrom(1 - target.answer(x))
    got = attack(method, target, x, goal, Budget(norm, eps), Run())
    assert got.success.all()
    assert got.forwards == len(x)
    assert torch.equal(got.x, x)


def check_beats_noise(
    method: Any, target: Any, data: Any, norm: Norm, eps: float, rows: int = 16,
    queries: int | None = None,
) -> Attacked:  # fmt: skip
    """At least half of the digits fall, and none or nearly none under noise of the same size."""
    x = data.x[:rows]
    goal = AwayFrom(target.answer(x))
    budget, run = Budget(norm, eps), Run(queries=queries)
    got = attack(method, target, x, goal, budget, run)
    noise = target.space.random(x, budget, run.generator("noise"))
    by_noise = float((target.answer(noise) != goal.labels).float().mean())
    reached = float((got.success & (got.distance <= eps * 1.0001)).float().mean())
    assert by_noise <= 0.15
    assert reached >= by_noise + 0.5, f"{reached:.2f} of the rows fell, {by_noise:.2f} by noise"
    assert torch.equal(got.success, target.answer(got.x) != goal.labels)
    return got


@dataclass(eq=False)
class Counter:
    """A classifier with nothing but scores, which counts the rows it is shown."""

    module: nn.Module
    rows: int = 0
    space: Box = field(default_factory=Box)

    def scores(self, x: Tensor) -> Tensor:
        self.rows += len(x)
        with torch.no_grad():
            return self.module(x)

    def decode(self, raw: Tensor) -> Tensor:
        return raw.argmax(1)

    def answer(self, x: Tensor) -> Tensor:
        return self.decode(self.scores(x))
