"""Substitute-model transfer with Jacobian-based augmentation (Papernot et al. 2017)."""

import math
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy

from holdfast.core.goal import Goal, ToClass, of_classes
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Box, Budget
from holdfast.core.target import Answers
from holdfast.ops.rows import take
from holdfast.ops.surrogates import classifier, fit, seeded
from holdfast.targets.torch import TorchClassifier

BATCH = 128
"""Rows per training step."""
ROWS = 256
"""Rows per pass: this attack gets all rows at once and batches them itself."""


@method(cites="papernot2017", where="alg. 1; sec. 4.1")
@dataclass(frozen=True)
class Substitute(EvasionAttack[Answers]):
    r"""Substitute-model transfer (Jacobian augmentation).

    S_0 = some of the inputs under attack;   O = the target's answers, F = a small network
    F_r     = fit( S_r, O(S_r) )
    S_{r+1} = S_r + { x + lambda_r * sign( d F_r(x)[O(x)] / dx ) : x in S_r }
    x_{t+1} = Pi_{B(x, eps)} ( x_t + eps / steps * steepest( grad L(F(x_t), y) ) ),   x_0 = x

    lambda_r changes its sign every three rounds, and from the fourth on only `reservoir` random
    inputs of S_r are answered anew (Papernot et al. 2016, sec. 4.1). One substitute is
    trained for all inputs; the fewer there are, the less it knows. The target gives answers only.
    """

    pools = True

    seeds: int = hyper(150, "sec. 5.1: inputs in S_0", low=1)
    iterations: int = hyper(6, "sec. 5.1: six rounds of augmentation", low=0)
    epochs: int = hyper(
        10, "sec. 5.1, per round; the network of a round goes on from the last", low=1
    )
    reach: float = hyper(0.1, "lambda, sec. 5.1, in units of change", low=0)
    reservoir: int = hyper(400, "kappa in Papernot et al. 2016, sec. 4.2", low=1)
    steps: int = hyper(
        10, "ours: one is the paper's FGSM; ten transfer better between small nets", low=1
    )

    def run(self, target: Answers, x: Tensor, goal: Goal, budget: Budget, rng: Generator) -> Search:
        space, told = cast(Box, target.space), _ask(target, x)
        order = torch.randperm(len(x), generator=rng, device=rng.device)
        seeds, answers = take(order[: self.seeds], x, told)
        keep = yield Candidate(x, goal.degree(told))
        copy = self.imitate(target, seeds, answers, of_classes(goal).labels, rng)
        live = torch.arange(len(x)) if keep is None else keep
        for rows in live.split(ROWS):
            clean, aim, room = take(rows, x, goal, budget)
            adv = clean
            for _ in range(self.steps):
                grad = copy.gradient(adv, aim.loss).wrt_input
                way = room.rows(clean) / self.steps * space.steepest(grad, adv, room)
                adv = space.project(adv + way, clean, room)
            yield Candidate(adv, aim.degree(target.answer(adv)), rows=rows)

    def imitate(
        self, target: Answers, x: Tensor, told: Tensor, wanted: Tensor, rng: Generator
    ) -> TorchClassifier:
        """A network that answers like the target, from its answers `told` to `x` and to more."""
        space = cast(Box, target.space)
        unit = torch.as_tensor(space.scale, dtype=x.dtype, device=x.device)
        made, copy = 0, TorchClassifier(torch.nn.Identity(), space)
        for turn in range(self.iterations + 1):
            # how many classes there are shows as they are answered
            classes = 1 + max(1, int(torch.cat([told, wanted]).max()))
            if classes > made:
                network = partial(classifier, tuple(x.shape[1:]), classes)
                made, copy = classes, TorchClassifier(seeded(network, rng).to(x.dtype), space)
            lessons = self.epochs * math.ceil(len(x) / BATCH)
            fit(copy.module.requires_grad_(), x, told, cross_entropy, lessons, rng)
            if turn < self.iterations:
                old, own = x, told
                if turn >= 3:
                    order = torch.randperm(len(x), generator=rng, device=rng.device)
                    old, own = take(order[: self.reservoir], x, told)
                # the sign of d p / dx is that of d log p / dx
                grad = copy.gradient(old, ToClass(own).loss).wrt_input
                way = (-1) ** (turn // 3) * self.reach * unit * grad.sign()
                new = space.within(old + way, old)
                x, told = torch.cat([x, new]), torch.cat([told, _ask(target, new)])
        return copy


def _ask(target: Answers, x: Tensor) -> Tensor:
    """The target's answers, some rows at a time."""
    return torch.cat([target.answer(part) for part in x.split(ROWS)])
