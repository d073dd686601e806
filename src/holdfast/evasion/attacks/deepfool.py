"""DeepFool (Moosavi-Dezfooli et al. 2016)."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.goal import AwayFrom, Goal, ToClass, of_classes
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Box, Budget, of_box
from holdfast.core.target import Gradients
from holdfast.ops import balls, losses
from holdfast.ops.rows import among, put, take
from holdfast.ops.segments import Segments

_CLEAR = 1e-2
"""Share of a hit's margin that must be left after it is drawn back to the boundary."""


@method(cites="moosavi2016", where="alg. 2, eqs. 8-11")
@dataclass(frozen=True)
class DeepFool(EvasionAttack[Gradients]):
    r"""DeepFool.

    w_k = grad f_k - grad f_y,   l = argmin_k |f_k - f_y| / ||w_k||_q      (at x_i, 1/p + 1/q = 1)
    r_i = |f_l - f_y| / ||w_l||_q * steepest(w_l)
    x_{i+1} = Pi_box( x + (1 + overshoot) * sum_{j <= i} r_j )

    A row stops at the first x_i of another class. The rivals k are the best `candidates` - 1 other
    classes at x_i; towards a wanted class there is one boundary, that to the best other class.
    Ours: iterates are clipped to the box, and features that stand at the bound they are pushed
    against do not move, so that steps fall short. Each is longer by `push` of the way so far, or x_i
    would approach the boundary and never cross it, and from half of the steps on the features that
    can move make up for the others. After the first step, only the best `later` rivals are looked
    at. The overshoot, which costs two per cent of distance, is taken back by `refine` forward passes
    along the last step.
    """

    measures = ("l2", "linf")
    minimises = True

    steps: int = hyper(50, "authors' code, max_iter", low=1)
    overshoot: float = hyper(0.02, "sec. 2.2, eta", low=0)
    candidates: int = hyper(10, "authors' code, num_classes", low=2)
    later: int = hyper(3, "ours: rivals after the first step; as near as all nine", low=1)
    push: float = hyper(0.005, "ours: a constant 1e-4 in foolbox and adv-lib", low=0)
    refine: int = hyper(3, "ours: brings linear models to 0.2 per cent of the minimum", low=0)

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        box, goal = of_box(target.space), of_classes(goal)
        live = torch.arange(len(x), device=x.device)
        inside, outside = x, x
        low, high = x.new_zeros(len(x)), x.new_zeros(len(x))  # margins at both
        start, adv, moved = x, x, torch.zeros_like(x)
        keep: Tensor | None = None
        for step in range(self.steps + 1):
            # a look before the gradients spares the fallen rows one backward pass per rival
            margin = goal.take(live).margin(target.scores(adv))
            won, left = (margin > 0).nonzero().flatten(), (margin <= 0).nonzero().flatten()
            inside, low = put(inside, live[left], adv[left]), put(low, live[left], margin[left])
            outside, high = put(outside, live[won], adv[won]), put(high, live[won], margin[won])
            if len(won) or not step:
                keep = yield Candidate(outside, (high > 0).float())
            left = left[torch.isin(live[left], among(live[left], keep))]
            live, start, adv, moved = take(left, live, start, adv, moved)
            if not len(live) or step == self.steps:
                break
            least, most = box.reach(start)
            extra = self.push * balls.size(moved, budget.norm)
            rivals = self.candidates - 1 if step == 0 else min(self.later, self.candidates - 1)
            length, steepest, share = self._move(target, box, adv, goal.take(live), budget, rivals)
            late = 2 * step >= self.steps
            length = torch.where(length.isfinite(), (length / share if late else length) + extra, 0)
            moved = moved + balls.rows(length, adv) * steepest
            moved = torch.minimum(torch.maximum(moved, least), most)
            adv = box.within(start + box.scaled((1 + self.overshoot) * moved), start)
        fell = among(((high > 0) & (low < 0)).nonzero().flatten(), keep)
        # a margin next to nothing would not survive the rounding of another batch
        least = _CLEAR * high[fell]
        line = Segments.between(low[fell] - least, high[fell] - least)
        a, b, goal = inside[fell], outside[fell], goal.take(fell)
        for _ in range(self.refine if len(fell) else 0):
            adv = a + balls.rows(line.probe, a) * (b - a)
            margin = goal.margin(target.scores(adv)) - least
            line = line.told(margin)
            outside = put(outside, fell[margin > 0], adv[margin > 0])
            yield Candidate(outside, (high > 0).float())

    def _move(
        self, target: Gradients, box: Box, adv: Tensor, goal: AwayFrom, budget: Budget, rivals: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """To the nearest linearised boundary, in units: length (N,), direction, share of it open."""

        def gaps(raw: Tensor) -> Tensor:
            """(N, C), negative until a boundary is crossed."""
            if isinstance(goal, ToClass):
                return goal.margin(raw).unsqueeze(1)
            others = losses.rivals(raw, goal.labels, rivals)
            return raw.gather(1, others) - raw.gather(1, goal.labels.view(-1, 1))

        found = target.gradient(adv, gaps)
        gap, w = gaps(found.raw).abs(), box.scaled(found.wrt_input)
        least, most = (bound.unsqueeze(1) for bound in box.reach(adv))
        free = torch.where(w > 0, most > 0, least < 0)
        norm: balls.Norm = "l2" if budget.norm == "l2" else "l1"
        dual, open_ = (balls.size(v.flatten(0, 1), norm).view_as(gap) for v in (w, w * free))
        # a flat spot gives no direction: there the row waits instead of leaving for infinity
        far = torch.where(open_ > balls.TINY, gap / dual.clamp(min=balls.TINY), torch.inf)
        length, nearest = far.min(1)
        row = torch.arange(len(w), device=w.device)
        steepest = balls.steepest(w[row, nearest], budget.norm) * free[row, nearest]
        share = (open_ / dual.clamp(min=balls.TINY))[row, nearest].clamp(min=1e-6)
        return length, steepest, share.square() if budget.norm == "l2" else share
