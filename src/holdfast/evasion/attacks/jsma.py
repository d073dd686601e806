"""Jacobian-based saliency map attack (Papernot et al. 2016)."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.goal import Goal, ToClass, of_classes
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget, of_box
from holdfast.core.target import Gradients
from holdfast.ops.balls import rows
from holdfast.ops.rows import among, take


@method(cites="papernot2016", where="alg. 2 and 3, eqs. 8-10")
@dataclass(frozen=True)
class JSMA(EvasionAttack[Gradients]):
    r"""Jacobian saliency map attack.

    a_p = d F_t / d x_p,   b_p = sum_{j != t} d F_j / d x_p
    (p, q) = argmax - (a_p + a_q) (b_p + b_q)   where a_p + a_q > 0 and b_p + b_q < 0

    Both features are moved by theta; those at a bound leave the search. F are the scores. A row
    ends when it is answered as t, when no pair is left, or when gamma of its features have moved.
    Lowering a feature is searched along with raising it, as a feature with -a_p and -b_p (Wiyatno &
    Xu 2018, M-JSMA), and away from class y the map is that of y with both signs turned (NT-JSMA).
    Greedy: on linear models whose rival scores mirror each other it changes as few pairs as can do.
    """

    measures = ("l0",)
    minimises = True

    theta: float = hyper(1.0, "sec. IV-B", low=0)
    gamma: float = hyper(0.145, "sec. IV-C, Upsilon", low=0, high=1)
    both_ways: bool = hyper(True, "Wiyatno & Xu 2018; the paper only raises")
    candidates: int = hyper(32, "ours: pairs of those with the largest a_p - b_p", low=2)

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        box, goal = of_box(target.space), of_classes(goal)
        sign = 1.0 if isinstance(goal, ToClass) else -1.0
        live = torch.arange(len(x), device=x.device)
        best, fell = x.clone(), torch.zeros(len(x), device=x.device)
        start, adv, aim, keep = x, x, goal, None
        for step in range(max(1, int(self.gamma * x[:1].numel() / 2)) + 1):

            def both(raw: Tensor, labels: Tensor = aim.labels) -> Tensor:
                own = raw.gather(1, labels.view(-1, 1))
                return sign * torch.cat([own, raw.sum(1, keepdim=True) - own], 1)

            found = target.gradient(adv, both)
            move, stay = self._pair(box.scaled(found.wrt_input), box.reach(adv))
            won = aim.margin(found.raw) > 0
            stay &= ~won
            if not step or bool(won.any()):
                best[live[won]], fell[live[won]] = adv[won], 1.0
                keep = yield Candidate(best, fell)
                stay &= torch.isin(live, among(live, keep))
            if not bool(stay.all()):
                left = stay.nonzero().flatten()
                live, start, adv, aim, move = take(left, live, start, adv, aim, move)
                if not len(live):
                    return
            adv = box.within(adv + box.scaled(self.theta * move), start)

    def _pair(self, slopes: Tensor, reach: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """The best pair as a change of ones (N, ...), and whether there is any (N,)."""
        down, up = (room.flatten(1) for room in reach)
        a, b = slopes[:, 0].flatten(1), -slopes[:, 1].flatten(1)
        fixed = up <= 0
        if self.both_ways:  # feature D + i is feature i lowered
            a, b, fixed = (torch.cat(each, 1) for each in ((a, -a), (b, -b), (fixed, down >= 0)))
        a, b = a.masked_fill(fixed, -torch.inf), b.masked_fill(fixed, -torch.inf)
        index = (a + b).topk(min(self.candidates, a.shape[1])).indices
        a, b = a.gather(1, index), b.gather(1, index)
        gain, loss = a.unsqueeze(1) + a.unsqueeze(2), b.unsqueeze(1) + b.unsqueeze(2)
        # a feature is no pair with itself; raised and lowered at once it gains nothing
        saliency = gain.clamp_(min=0).mul_(loss.clamp_(min=0)).triu_(1).flatten(1)
        size, place = saliency.max(1)
        count, d = index.shape[1], down.shape[1]
        pair = index.gather(1, torch.stack([place // count, place % count], 1))
        move = torch.zeros_like(down)
        move.scatter_(1, pair % d, torch.where(pair < d, 1.0, -1.0).to(move.dtype))
        return (rows(size > 0, move) * move).view_as(reach[0]), size > 0
