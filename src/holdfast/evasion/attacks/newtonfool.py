"""NewtonFool (Jang et al. 2017)."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.goal import Goal, ToClass, of_classes
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget, of_box
from holdfast.core.target import Gradients
from holdfast.ops import balls
from holdfast.ops.losses import cross_entropy
from holdfast.ops.rows import among, put, take


@method(cites="jang2017", where="alg. 1, eqs. 7 and 8")
@dataclass(frozen=True)
class NewtonFool(EvasionAttack[Gradients]):
    r"""NewtonFool.

    p = softmax probability of the class of the clean input, g = grad p(x_i)
    fall_i = min( eta * |x_0| * |g|, p(x_i) - 1 / K ),   x_{i+1} = x_i - fall_i * g / |g|^2

    A Newton step towards the p at which the class can be lost (1 / K), no longer than a share eta
    of the clean input's size. The division by the squared norm makes it a step of fall_i / |g|.
    For a wanted class p is 1 minus its probability. It does not look for the smallest change: the
    first x_i of another class is kept, so the distance is an upper bound that grows with eta.
    """

    measures = ("l2",)
    minimises = True

    steps: int = hyper(100, "ours: until the class changes; foolbox and ART 100", low=1)
    eta: float = hyper(0.01, "sec. 5.2", low=0)

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        box, goal = of_box(target.space), of_classes(goal)
        live = torch.arange(len(x), device=x.device)
        best, fell = x, torch.zeros(len(x), device=x.device)
        start, adv = x, x
        for step in range(self.steps + 1):
            aim = goal.take(live)
            wanted = isinstance(aim, ToClass)

            def chance(raw: Tensor, labels: Tensor = aim.labels, wanted: bool = wanted) -> Tensor:
                # by its logarithm: a softmax near one is rounded to one and has no slope left
                p = cross_entropy(raw, labels).neg().exp()
                return 1 - p if wanted else p

            found = target.gradient(adv, chance)
            raw, g = found.raw, box.scaled(found.wrt_input)
            won = aim.margin(raw) > 0
            best, fell = put(best, live[won], adv[won]), fell.index_fill(0, live[won], 1.0)
            keep = None
            if step in (0, self.steps) or bool(won.any()):
                keep = yield Candidate(best, fell)
            left = (~won & torch.isin(live, among(live, keep))).nonzero().flatten()
            live, start, adv, g, raw = take(left, live, start, adv, g, raw)
            if not len(live):
                return
            now = chance(raw, goal.take(live).labels)
            floor = (raw.shape[1] - 1 if wanted else 1) / raw.shape[1]
            # fall_i / |g|, written so that no tiny number is squared
            far = (now - floor).clamp(min=0) / balls.size(g, "l2").clamp(min=balls.TINY)
            length = torch.minimum(self.eta * balls.size(box.units(start), "l2"), far)
            way = balls.rows(length, g) * balls.steepest(g, "l2")
            adv = box.within(adv - box.scaled(way), start)
