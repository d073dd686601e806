"""Elastic-net attack, EAD (Chen et al. 2018)."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.goal import Goal, of_classes
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget, of_box
from holdfast.core.target import Gradients
from holdfast.evasion.carlini import Bisection, DrawBack, Settings
from holdfast.ops import balls
from holdfast.ops.rows import among, take


@method(cites="chen2018ead", where="alg. 1, eqs. 4-6")
@dataclass(frozen=True)
class ElasticNet(EvasionAttack[Gradients]):
    r"""Elastic-net attack (EAD).

    minimise c f(x') + |x' - x|_2^2 + beta |x' - x|_1   over the box, by FISTA:
    x_{k+1} = S_beta( y_k - alpha_k grad g(y_k) ),   y_{k+1} = x_{k+1} + k / (k + 3) (x_{k+1} - x_k)

    g is the sum without the L1 term, S_beta draws every change towards zero by beta and clips it to
    the box, and alpha_k = step_size sqrt(1 - k / steps). c is bisected as by Carlini & Wagner, per
    row. Of all hits the one of least L1 norm is kept when change is measured in L1 (decision rule
    "L1"), else that of the least elastic-net sum ("EN"). Hits are looked for among the y_k, whose
    forward pass is paid for by their gradient. Ours: `refine` passes draw the best one back to the
    boundary on the line to x.
    """

    measures = ("l1", "l2")
    minimises = True

    steps: int = hyper(200, "ours; sec. 4.1: 1000", low=1)
    step_size: float = hyper(0.01, "sec. 4.1, alpha_0", low=0)
    beta: float = hyper(0.01, "ours: two thirds of the L1 distance at 0.001, sec. 4.1", low=0)
    search_steps: int = hyper(9, "sec. 4.1", low=1)
    initial_c: float = hyper(1e-3, "sec. 4.1", low=1e-12)
    confidence: float = hyper(0.0, "authors' code, kappa", low=0)
    refine: int = hyper(4, "ours: the last per cent of distance", low=0)

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        box, goal = of_box(target.space), of_classes(goal)
        clean = goal.margin(target.scores(x))
        best, over, least = x.clone(), clean.clone(), torch.full_like(clean, torch.inf)
        least[clean > self.confidence] = 0
        keep = yield Candidate(best, least.isfinite().float())
        live = among((least > 0).nonzero().flatten(), keep)
        start = x[live]
        plan = Bisection.of(
            Settings(self.steps, self.search_steps, self.initial_c, 0.0, 0.0), start
        )
        low, high = box.reach(start)
        old = ahead = torch.zeros_like(start)  # x_k - x and y_k - x, in units
        while len(live):
            aim = goal.take(live)
            adv = box.within(start + box.scaled(ahead), start)
            found = target.gradient(adv, aim.margin)
            margin = aim.margin(found.raw)
            hit, square = margin > self.confidence, ahead.flatten(1).square().sum(1)
            elastic = square + self.beta * balls.size(ahead, "l1")
            now = balls.size(ahead, "l1") if budget.measure == "l1" else elastic
            better = (hit & (now < least[live])).nonzero().flatten()
            if len(better):
                at = live[better]
                best[at], least[at], over[at] = adv[better], now[better], margin[better]
                keep = yield Candidate(best, least.isfinite().float())
            push = balls.rows(torch.where(hit, 0.0, -plan.c), start)
            rate = balls.rows(self.step_size * (1 - plan.count / self.steps).sqrt(), start)
            new = ahead - rate * (push * box.scaled(found.wrt_input) + 2 * ahead)
            new = new.sign() * (new.abs() - self.beta).clamp(min=0)
            new = torch.minimum(torch.maximum(new, low), high)
            speed = balls.rows(plan.count / (plan.count + 3), start)
            ahead = torch.minimum(torch.maximum(new + speed * (new - old), low), high)
            old = new
            loss = elastic + plan.c * (self.confidence - margin).clamp(min=0)
            done, anew = plan.told(hit, ahead, found.wrt_input, loss)
            stay = balls.rows(~anew, start)  # each c starts from the clean input
            old, ahead = old * stay, ahead * stay
            if len(better) or bool(done.any()):
                left = (~done & torch.isin(live, among(live, keep))).nonzero().flatten()
                live, start, plan, low, high, old, ahead = take(
                    left, live, start, plan, low, high, old, ahead
                )
        fell = among((least.isfinite() & (least > 0)).nonzero().flatten(), keep)
        if self.refine and len(fell):
            ends, near = (clean[fell], over[fell]), (goal.take(fell), x[fell], best[fell])
            best[fell] = DrawBack(target, self.confidence, self.refine)(*near, ends)[0]
            yield Candidate(best, least.isfinite().float())
