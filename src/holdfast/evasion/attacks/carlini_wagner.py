"""The attacks of Carlini & Wagner (2017) in L2, Linf and L0."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.errors import NotApplicable
from holdfast.core.goal import Goal, of_classes
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Box, Budget, of_box
from holdfast.core.target import Gradients
from holdfast.evasion.carlini import L0, L2, PLANS, DrawBack, Linf, Settings
from holdfast.ops import balls
from holdfast.ops.box_transform import Adam, TanhBox
from holdfast.ops.rows import among, take


@method(cites="carlini2017", where="sec. V and VI")
@dataclass(frozen=True)
class CarliniWagner(EvasionAttack[Gradients]):
    r"""Carlini-Wagner attack.

    minimise D(delta) + c f(x + delta) over w by Adam, x + delta = middle + half tanh(w)
    f(x') = max( kappa - margin(x'), 0 ), margin(x') = max_{i != y} Z_i - Z_y, or Z_t - max_{i != t} Z_i

    L2: D = |delta|^2, c by bisection. Linf: D = sum max(|delta_i| - tau, 0), c doubled until tau
    is met, then tau = decrease * max |delta_i|. L0: D = |delta|^2, and after each hit the features
    with the least g_i max delta_i are frozen, where g = grad f. Every row has a c, a tau and an
    Adam of its own and goes on to the next at once. Ours: the step size falls linearly within a
    descent (a constant one jitters about the boundary), and what is found is drawn back to the
    boundary by `refine` forward passes, on the line to x for L2 and by cutting |delta_i| for Linf.
    """

    measures = ("l2", "linf", "l0")
    minimises = True

    steps: int = hyper(100, "ours: on digits within 0.2 % of 400 steps of 0.02", low=1)
    step_size: float = hyper(0.05, "ours; authors' code: 0.01 for 1000 to 10000 steps", low=0)
    search_steps: int = hyper(9, "authors' code, L2", low=1)
    confidence: float = hyper(0.0, "sec. VI-A; authors' code", low=0)
    initial_c: float = hyper(1e-3, "authors' code, L2 and L0", low=1e-12)
    largest_c: float = hyper(20.0, "authors' code, Linf", low=0)
    decrease: float = hyper(0.9, "sec. VI-C", low=0, high=1)
    refine: int = hyper(4, "ours: the last per cent of distance", low=0)

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        box, goal = of_box(target.space), of_classes(goal)
        clean = goal.margin(target.scores(x))
        best, over, size = x.clone(), clean.clone(), torch.full_like(clean, torch.inf)
        size[clean > self.confidence] = 0
        keep = yield Candidate(best, size.isfinite().float())
        live = among((size > 0).nonzero().flatten(), keep)
        line, start = _bounded(box, x), x[live]
        w = line.open(start)
        settings = Settings(
            self.steps, self.search_steps, self.initial_c, self.largest_c, self.decrease
        )
        plan, adam = PLANS[budget.measure].of(settings, start), Adam.of(w)
        draw = DrawBack(target, self.confidence, self.refine, cut=budget.measure == "linf")
        while len(live):
            aim = goal.take(live)
            adv, bend = line.close(w)
            if isinstance(plan, L0):
                adv = torch.where(plan.free > 0, adv, start)
            adv = box.within(adv, start)
            found = target.gradient(adv, aim.margin)
            margin = aim.margin(found.raw)
            hit, delta = margin > self.confidence, box.units(adv - start)
            if isinstance(plan, Linf):
                met = (hit & (balls.size(delta, "linf") <= plan.tau)).nonzero().flatten()
                ends = (clean[live[met]], margin[met])
                adv[met], margin[met] = draw(goal.take(live[met]), start[met], adv[met], ends)
                delta = box.units(adv - start)
            now = balls.size(delta, budget.norm)
            better = (hit & (now < size[live])).nonzero().flatten()
            if len(better):
                at = live[better]
                best[at], size[at], over[at] = adv[better], now[better], margin[better]
                keep = yield Candidate(best, size.isfinite().float())
            cost, back = plan.pull(delta)
            push = torch.where(hit, 0.0, -plan.c)  # of f, which is flat once it is zero
            grad = balls.rows(push, w) * found.wrt_input + box.units(back)
            if isinstance(plan, L0):
                grad = grad * plan.free
            loss = cost + plan.c * (self.confidence - margin).clamp(min=0)
            rate = self.step_size * (1 - plan.count / self.steps)
            w = w - balls.rows(rate, w) * adam.step(grad * bend)
            gain = found.wrt_input
            if isinstance(plan, L0):
                down, up = box.reach(start)
                gain = torch.maximum(box.scaled(gain) * up, box.scaled(gain) * down)
            done, anew = plan.told(hit, delta, gain, loss)
            again = anew.nonzero().flatten()
            if len(again):
                adam.forget(again)
                w[again] = line.open(start[again] if isinstance(plan, L2) else best[live[again]])
            if len(better) or bool(done.any()):
                left = (~done & torch.isin(live, among(live, keep))).nonzero().flatten()
                live, start, w, plan, adam = take(left, live, start, w, plan, adam)
        fell = among((size.isfinite() & (size > 0)).nonzero().flatten(), keep)
        if budget.measure == "l2" and len(fell):
            ends, aim = (clean[fell], over[fell]), goal.take(fell)
            best[fell] = draw(aim, x[fell], best[fell], ends)[0]
            yield Candidate(best, size.isfinite().float())


def _bounded(box: Box, like: Tensor) -> TanhBox:
    """The change of variables of the box."""
    low, high = (
        torch.as_tensor(v, dtype=like.dtype, device=like.device) for v in (box.low, box.high)
    )
    if not bool(low.isfinite().all() and high.isfinite().all()):
        raise NotApplicable("needs bounds that are finite, as its variables run between them")
    return TanhBox(low, high)
