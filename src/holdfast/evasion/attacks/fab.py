"""Fast adaptive boundary attack (Croce & Hein 2020)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from holdfast.core.goal import AwayFrom, Goal, ToClass, of_classes
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget, of_box
from holdfast.core.target import Gradients
from holdfast.ops import balls
from holdfast.ops.hyperplanes import step_to
from holdfast.ops.losses import rivals
from holdfast.ops.rows import put, take
from holdfast.ops.segments import Segments

_Norm = Literal["linf", "l2", "l1"]
_START = {"linf": 0.3, "l2": 1.0, "l1": 5.0}  # authors' code: radii where nothing else gives one


@method(cites="croce2020fab", where="alg. 1; eq. 8-11; FAB-T as in the released code")
@dataclass(frozen=True)
class FAB(EvasionAttack[Gradients]):
    r"""Fast adaptive boundary attack.

    pi(z) is the least change that takes z onto the linearised boundary within the box, and

    delta_{t+1} = (1 - alpha) (delta_t + eta pi(x + delta_t)) + alpha eta pi(x)
    alpha = min( |pi(x + delta_t)| / (|pi(x + delta_t)| + |pi(x)|), alpha_max )

    After a hit, delta is drawn back to beta delta. The authors' two forward passes a step, for the
    label and for the gradient, are one here until a row's first hit, whose gradient serves its step.
    """

    measures = ("linf", "l2", "l1")
    minimises = True

    steps: int = hyper(100, "sec. 4, FAB-100; AutoAttack", low=1)
    restarts: int = hyper(1, "AutoAttack", low=1)
    targets: int = hyper(0, "0 = nearest of all classes; FAB-T in AutoAttack: 9", low=0)
    alpha_max: float = hyper(0.1, "sec. 4", low=0, high=1)
    eta: float = hyper(1.05, "sec. 4", low=1)
    beta: float = hyper(0.9, "sec. 4", low=0, high=1)
    final_steps: int = hyper(3, "sec. 3.3, final search", low=0)

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        aim, box = of_classes(goal), of_box(target.space)
        norm: _Norm = budget.norm  # type: ignore[assignment]  # one of `measures`
        least = torch.full_like(x.flatten(1).sum(1), torch.inf)
        best, clean, over = torch.zeros_like(x), least, torch.zeros_like(least)
        order: Tensor | None = None
        turns = 1 if isinstance(aim, ToClass) else max(1, self.targets)
        for run in range(turns * self.restarts):
            turn, restart = divmod(run, self.restarts)
            if order is not None and turn >= order.shape[1]:
                break
            low, high = box.reach(x)
            delta = self._start(x, restart, least, norm, budget, rng).clamp(low, high)
            hot = torch.zeros(len(x), dtype=torch.bool, device=x.device)
            for _ in range(self.steps):
                tried, adv = delta, box.within(x + box.scaled(delta), x)
                rows = hot.nonzero().flatten()  # their gradient is likely wanted at another point
                told = target.scores(adv[rows]) if len(rows) else None
                if told is not None:
                    hit = rows[aim.take(rows).margin(told) > 0]
                    delta = put(delta, hit, self.beta * delta[hit])
                gaps = self._gaps(aim, order, turn)
                gradient = target.gradient(box.within(x + box.scaled(delta), x), gaps)
                raw = gradient.raw if told is None else put(gradient.raw, rows, told)
                margin = aim.margin(raw)
                if order is None:
                    order, clean = rivals(raw, aim.labels, raw.shape[1]), margin
                size, fresh = balls.size(tried, norm), (margin > 0) & ~hot
                hot, closer = margin > 0, (margin > 0) & (size < least)
                least, over = torch.where(closer, size, least), torch.where(closer, margin, over)
                best = torch.where(closer.view_as(balls.rows(size, x)), tried, best)
                gap, slope = _nearest(gaps(gradient.raw), box.scaled(gradient.wrt_input), norm)
                keep = yield Candidate(adv, aim.degree(target.decode(raw)))
                x, aim, budget, low, high, delta, gap, slope, hot, fresh = take(
                    keep, x, aim, budget, low, high, delta, gap, slope, hot, fresh
                )
                order, least, best, clean, over = take(keep, order, least, best, clean, over)
                delta = self._step(delta, gap, slope, fresh, (low, high), norm)
        line = Segments.between(clean, over)
        for _ in range(self.final_steps):
            adv = box.within(x + box.scaled(balls.rows(line.probe, x) * best), x)
            raw = target.scores(adv)
            line = line.told(aim.margin(raw))
            keep = yield Candidate(adv, aim.degree(target.decode(raw)))
            x, aim, best, line = take(keep, x, aim, best, line)

    def _gaps(self, aim: AwayFrom, order: Tensor | None, turn: int) -> Callable[[Tensor], Tensor]:
        """(N, C): by how much the wanted scores exceed the others; zero on the boundaries."""

        def gaps(raw: Tensor) -> Tensor:
            if isinstance(aim, ToClass):
                return aim.margin(raw).unsqueeze(1)
            others = rivals(raw, aim.labels, raw.shape[1]) if order is None else order
            others = others[:, turn : turn + 1] if self.targets else others
            return raw.gather(1, others) - raw.gather(1, aim.labels.unsqueeze(1))

        return gaps

    def _start(
        self, x: Tensor, restart: int, least: Tensor, norm: _Norm, budget: Budget, rng: Generator
    ) -> Tensor:
        """No change first, later one of half of the least size known.

        The released code forgets that size between runs and takes half of the budget.
        """
        if restart == 0:
            return torch.zeros_like(x)
        radius = torch.minimum(least, budget.rows(x).flatten().expand(len(x)))
        radius = torch.where(radius.isinf(), _START[norm], radius)
        noise = torch.empty_like(x)
        noise = (
            noise.uniform_(-1, 1, generator=rng) if norm == "linf" else noise.normal_(generator=rng)
        )
        return noise * balls.rows(radius / 2 / balls.size(noise, norm).clamp(min=balls.TINY), x)

    def _step(
        self, delta: Tensor, gap: Tensor, slope: Tensor, fresh: Tensor,
        room: tuple[Tensor, Tensor], norm: _Norm,
    ) -> Tensor:  # fmt: skip
        """Combine both projections; first hits, not drawn back yet, are drawn back before."""
        low, high = room
        from_clean = -gap + (slope * delta).flatten(1).sum(1)
        back = torch.where(balls.rows(fresh, delta) > 0, self.beta * delta, delta)
        from_here = from_clean - (slope * back).flatten(1).sum(1)
        near = step_to(slope, from_here, low - back, high - back, norm)
        far = step_to(slope, from_clean, low, high, norm)
        sizes = [balls.size(d, norm).clamp(min=1e-8) for d in (near, far)]
        alpha = balls.rows((sizes[0] / (sizes[0] + sizes[1])).clamp(max=self.alpha_max), delta)
        new = (1 - alpha) * (back + self.eta * near) + alpha * self.eta * far
        return torch.minimum(torch.maximum(new, low), high)


def _nearest(gaps: Tensor, slopes: Tensor, norm: _Norm) -> tuple[Tensor, Tensor]:
    """Gap (N,) and slope (N, ...) of the class whose linearised boundary is nearest (eq. 7)."""
    steep = balls.size(slopes.flatten(0, 1), balls.DUAL[norm]).view_as(gaps)
    index = (gaps.abs() / steep.clamp(min=balls.TINY)).argmin(1)
    row = torch.arange(len(gaps), device=gaps.device)
    return gaps[row, index], slopes[row, index]
