"""The attacks of Carlini & Wagner (2017) in L2, Linf and L0."""

from dataclasses import dataclass, fields

import torch
from torch import Generator, Tensor

from holdfast.core.errors import NotApplicable
from holdfast.core.goal import Goal, of_classes
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Box, Budget, of_box
from holdfast.core.target import Gradients
from holdfast.evasion.carlini import PLANS, DrawBack, Settings
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
    descent (a constant one jitters about the boundary); each descent goes on from the best hit or,
    before there is one, from where the last ended; for L2 c starts at what a linear model would
    need, and hits close its interval from below (`L2`); what is found is drawn back to the boundary
    by `refine` forward passes, on the line to x for L2 and by cutting |delta_i| for Linf.
    """

    measures = ("l2", "linf", "l0")
    minimises = True

    steps: int = hyper(100, "ours, of one descent; authors' code: 1000 to 10000", low=1)
    step_size: float = hyper(0.05, "ours, as the steps are fewer; authors' code: 0.01", low=0)
    search_steps: int = hyper(9, "authors' code, L2", low=1)
    confidence: float = hyper(0.0, "sec. VI-A; authors' code", low=0)
    initial_c: float = hyper(1e-3, "authors' code; for L2 the least first c", low=1e-12)
    largest_c: float = hyper(20.0, "authors' code, Linf", low=0)
    decrease: float = hyper(0.9, "sec. VI-C", low=0, high=1)
    enough: float = hyper(
        0.1, "ours: L2 ends with a descent that gains a smaller share", low=0, high=1
    )
    refine: int = hyper(4, "ours: the last per cent of distance", low=0)

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        box, goal = of_box(target.space), of_classes(goal)
        found = target.gradient(x, goal.margin)
        clean = goal.margin(found.raw)
        best, over, size = x.clone(), clean.clone(), torch.full_like(clean, torch.inf)
        size[clean > self.confidence] = 0
        keep = yield Candidate(best, size.isfinite().float())
        live = among((size > 0).nonzero().flatten(), keep)
        line, start, aim = _bounded(box, x), x[live], goal.take(live)
        w = line.open(start)
        settings = Settings(**{each.name: getattr(self, each.name) for each in fields(Settings)})
        plan, adam = PLANS[budget.measure].of(settings, start), Adam.of(w)
        short, slope = self.confidence - clean[live], box.scaled(found.wrt_input[live])
        plan.begin(short, slope, box.reach(start))
        draw = DrawBack(target, self.confidence, self.refine, cut=budget.measure == "linf")
        while len(live):
            adv, bend = line.close(w)
            adv = box.within(plan.held(adv, start), start)
            found = target.gradient(adv, aim.margin)
            margin = aim.margin(found.raw)
            hit, delta = margin > self.confidence, box.units(adv - start)
            met = plan.drawn(hit, delta).nonzero().flatten()
            if len(met):
                both = (clean[live[met]], margin[met])
                adv[met], margin[met] = draw(aim.take(met), start[met], adv[met], both)
                delta = box.units(adv - start)
            now, far = balls.size(delta, budget.norm), size[live]
            better = (hit & (now < far)).nonzero().flatten()
            if len(better):
                at = live[better]
                best[at], size[at], over[at] = adv[better], now[better], margin[better]
            cost, back = plan.pull(delta)
            push = torch.where(hit, 0.0, -plan.c)  # of f, which is flat once it is zero
            slope = box.scaled(found.wrt_input)
            grad = back.addcmul_(balls.rows(push, w), slope)
            loss = cost + plan.c * (self.confidence - margin).clamp(min=0)
            rate = self.step_size * (1 - plan.count / self.steps)
            w = w.addcmul_(adam.step(box.units(grad) * bend), balls.rows(rate, w), value=-1)
            done, anew = plan.told(hit, delta, slope, loss)
            ends = bool(anew.any())
            if ends:
                again = anew.nonzero().flatten()
                adam.forget(again)
                again = again[size[live[again]].isfinite()]  # others go on from where they are
                w[again] = line.open(best[live[again]])
            if ends or (len(better) and bool(far[better].isinf().any())):
                keep = yield Candidate(best, size.isfinite().float())
                stay = ~done & torch.isin(live, among(live, keep))
                if not bool(stay.all()):
                    live, start, aim, w, plan, adam = take(
                        stay.nonzero().flatten(), live, start, aim, w, plan, adam
                    )
        fell = among((size.isfinite() & (size > 0)).nonzero().flatten(), keep)
        if budget.measure == "l2" and len(fell):
            both = (clean[fell], over[fell])
            best[fell] = draw(goal.take(fell), x[fell], best[fell], both)[0]
            yield Candidate(best, size.isfinite().float())


def _bounded(box: Box, like: Tensor) -> TanhBox:
    """The change of variables of the box."""
    low, high = (
        torch.as_tensor(v, dtype=like.dtype, device=like.device) for v in (box.low, box.high)
    )
    if not bool(low.isfinite().all() and high.isfinite().all()):
        raise NotApplicable("needs bounds that are finite, as its variables run between them")
    return TanhBox(low, high)
