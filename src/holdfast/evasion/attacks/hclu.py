"""High confidence, low uncertainty (Grosse et al. 2018)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from holdfast.core.goal import AwayFrom, Goal, of_classes
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget, of_box
from holdfast.core.target import Gradient, Uncertain

_ROOM = 1e-4
"""How far a constraint may be missed: rounding of the result to single precision included."""

_DRAWS = 16
"""Random inputs among which a repeated search looks for its start."""


@method(cites="grosse2018", where="sec. 3, HCLU")
@dataclass(frozen=True)
class HCLU(EvasionAttack[Uncertain]):
    r"""High-confidence low-uncertainty attack (HCLU).

    minimise |delta|^2   subject to   p_t(x + delta) >= confidence,   s(x + delta) <= s(x)

    s is the variance of a Gaussian process's latent function, so that the result is no easier to
    tell by its uncertainty than the clean input. t is the other of two classes. By sequential
    least squares, row by row, from the clean input; p is constrained through its log-odds, which
    do not flatten where p does. A search that ends far from the data, where the process knows
    nothing and gradients vanish, is repeated from the likeliest of 16 random inputs (ours). Rows
    where the constraints are not met at the end count as not reached, even in the other class.
    """

    measures = ("l2",)
    minimises = True

    steps: int = hyper(100, "scipy's default for SLSQP", low=1)
    restarts: int = hyper(2, "ours", low=0)
    confidence: float = hyper(0.95, "sec. 4, 95 per cent", low=0.5, high=0.9999)
    tolerance: float = hyper(1e-8, "ours: of |delta|^2", low=0)

    def run(
        self, target: Uncertain, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        from scipy.optimize import minimize

        box, goal = of_box(target.space), of_classes(goal)
        odds = float(np.log(self.confidence / (1 - self.confidence)))
        sure = goal.margin(target.scores(x)) >= odds
        best, fell = x.clone(), sure.float()
        keep = yield Candidate(best, fell)
        low, high = box.reach(x)
        for row in (~sure).nonzero().flatten().tolist():
            if keep is not None and row not in keep:
                continue
            # in double precision, as the search divides differences of what it is told
            one, aim = x[row : row + 1].double(), goal.take(torch.tensor([row]))
            ends = (low[row].flatten().tolist(), high[row].flatten().tolist())
            bounds = list(zip(*ends, strict=True))
            limit = float(target.uncertainty(one)[0])

            def chance(adv: Tensor, aim: AwayFrom = aim) -> tuple[float, Tensor]:
                found = target.gradient(adv, aim.margin)
                return float(aim.margin(found.raw)) - odds, found.wrt_input

            def doubt(adv: Tensor, limit: float = limit) -> tuple[float, Tensor]:
                found: Gradient = target.uncertainty_gradient(adv)
                return limit - float(found.raw), -found.wrt_input

            parts = [_Constraint(of, one, box.within, box.scaled) for of in (chance, doubt)]
            for trial in range(self.restarts + 1):
                start = np.zeros(one.numel())
                if trial:
                    draws = torch.empty(_DRAWS, *one.shape[1:], device=x.device, dtype=one.dtype)
                    draws = low[row] + draws.uniform_(generator=rng) * (high[row] - low[row])
                    raw = target.scores(box.within(one + box.scaled(draws), one))
                    likely = goal.take(torch.full((_DRAWS,), row)).margin(raw).argmax()
                    start = draws[likely].flatten().cpu().numpy()
                end = minimize(
                    lambda d: (float(d @ d), 2 * d), start, jac=True,
                    method="SLSQP", bounds=bounds,
                    options={"maxiter": self.steps, "ftol": self.tolerance},
                    constraints=[{"type": "ineq", "fun": p.value, "jac": p.slope} for p in parts],
                )  # fmt: skip
                short = (parts[0].value(end.x), parts[1].value(end.x) / limit)
                if min(short) >= -_ROOM:
                    best[row], fell[row] = parts[0].point(end.x)[0].to(x.dtype), 1.0
                    keep = yield Candidate(best, fell)
                    break


class _Constraint:
    """A function and its gradient at the same point for one evaluation."""

    def __init__(
        self, of: Callable[[Tensor], tuple[float, Tensor]], x: Tensor,
        within: Callable[[Tensor, Tensor], Tensor], scaled: Callable[[Tensor], Tensor],
    ) -> None:  # fmt: skip
        self._of, self._x, self._within, self._scaled = of, x, within, scaled
        self._at, self._told = b"", (0.0, x)

    def point(self, d: np.ndarray) -> Tensor:
        delta = torch.as_tensor(d, dtype=self._x.dtype, device=self._x.device).view_as(self._x)
        return self._within(self._x + self._scaled(delta), self._x)

    def value(self, d: np.ndarray) -> float:
        if d.tobytes() != self._at:
            self._at, self._told = d.tobytes(), self._of(self.point(d))
        return self._told[0]

    def slope(self, d: np.ndarray) -> np.ndarray:
        self.value(d)
        grad: np.ndarray = self._scaled(self._told[1]).double().flatten().cpu().numpy()
        return grad
