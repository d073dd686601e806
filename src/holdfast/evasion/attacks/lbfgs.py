"""Box-constrained L-BFGS (Szegedy et al. 2014)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from holdfast.core.goal import AwayFrom, Goal, ToClass, of_classes
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget, of_box
from holdfast.core.target import Gradients
from holdfast.evasion.carlini import DrawBack
from holdfast.ops.losses import cross_entropy

_Seen = tuple[float, Tensor, np.ndarray]
"""A hit: its distance, the input, and the same as a point of the search."""


@method(cites="szegedy2014", where="sec. 4.1")
@dataclass(frozen=True)
class LBFGS(EvasionAttack[Gradients]):
    r"""Box-constrained L-BFGS.

    minimise c |r|^2 + loss_f(x + r, l)   subject to   x + r in [0, 1]^m

    by L-BFGS-B, row by row; the largest c whose minimiser is adversarial is found by bisection of
    log c, each search from the last adversarial one on. loss_f is the cross-entropy of the wanted
    class; where any but y will do it is that of the others together, -log(1 - p_y). (Minus the
    cross-entropy of y would be concave: its minimiser leaps over the boundary.) |r|^2 is halved.
    Ours: `refine` passes draw the result back to the boundary on the line to x.
    """

    measures = ("l2",)
    minimises = True

    steps: int = hyper(50, "ours: iterations of one minimisation", low=1)
    search_steps: int = hyper(20, "ours: ends before when c is known to a fifth", low=1)
    refine: int = hyper(4, "ours: the last per cent of distance", low=0)
    largest_c: float = hyper(1e3, "ours: search starts here and falls tenfold until a hit", low=0)

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        from scipy.optimize import minimize

        box, goal = of_box(target.space), of_classes(goal)
        clean = goal.margin(target.scores(x))
        fell = (clean > 0).float()
        best, size = x.clone(), torch.where(fell > 0, 0.0, torch.inf)
        keep = yield Candidate(best, fell)
        rows = torch.arange(len(x), device=x.device) if keep is None else keep.to(x.device)
        low, high = box.reach(x)
        for row in rows[fell[rows] == 0].tolist():
            if keep is not None and row not in keep:
                continue
            one = torch.tensor([row], device=x.device)
            around, aim = x[one], goal.take(one)
            bounds = list(
                zip(low[row].flatten().tolist(), high[row].flatten().tolist(), strict=True)
            )
            at = x.new_zeros(x[row].numel()).double().cpu().numpy()
            c, missed, hit = self.largest_c, torch.inf, 0.0
            for _ in range(self.search_steps):
                seen: list[_Seen] = []
                value = _objective(target, around, aim, c, seen)
                end = minimize(
                    value, at, jac=True, method="L-BFGS-B", bounds=bounds,
                    options={"maxiter": self.steps, "ftol": 1e-6},
                )  # fmt: skip
                # trials of a line search may hit as well; they count as finds, not for the bisection
                if any(np.array_equal(flat, end.x) for *_, flat in seen):
                    hit, at = c, end.x
                else:
                    missed = c
                near, adv, _ = min(seen, key=lambda each: each[0], default=(torch.inf, around, at))
                if near < float(size[row]):
                    size[row], best[row], fell[row] = near, adv[0], 1.0
                    keep = yield Candidate(best, fell)
                    if keep is not None and row not in keep:
                        break
                c = (
                    (hit * missed) ** 0.5
                    if hit and missed < torch.inf
                    else c * (10 if hit else 0.1)
                )
                if missed < 1.2 * hit:
                    break
            if fell[row] and self.refine and (keep is None or row in keep):
                ends = (clean[one], aim.margin(target.scores(best[one])))
                best[one] = DrawBack(target, 0.0, self.refine)(aim, around, best[one], ends)[0]
                keep = yield Candidate(best, fell)


def _objective(
    target: Gradients, x: Tensor, goal: AwayFrom, c: float, seen: list[_Seen]
) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """The sum c |r|^2 / 2 + loss_f and its gradient in r, in units; hits are noted in `seen`."""
    box = of_box(target.space)

    def loss_f(raw: Tensor) -> Tensor:
        if isinstance(goal, ToClass):
            return cross_entropy(raw, goal.labels)
        others = raw.scatter(1, goal.labels.view(-1, 1), -torch.inf)
        return raw.logsumexp(1) - others.logsumexp(1)

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        r = torch.tensor(flat, dtype=x.dtype, device=x.device).view_as(x)
        adv = box.within(x + box.scaled(r), x)
        found = target.gradient(adv, loss_f)
        if bool(goal.margin(found.raw) > 0):
            seen.append((float(r.square().sum().sqrt()), adv, flat.copy()))
        loss = c / 2 * r.double().square().sum() + loss_f(found.raw).double().sum()
        grad = c * r.double() + box.scaled(found.wrt_input).double()
        return float(loss), grad.flatten().cpu().numpy()

    return value
