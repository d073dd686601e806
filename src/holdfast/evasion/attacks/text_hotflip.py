"""Word flips by gradient (Ebrahimi et al. 2018; Liang et al. 2018)."""

from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from holdfast.core.goal import Goal
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget
from holdfast.core.target import WordGradients
from holdfast.ops.rows import Ragged, take


@method(cites="ebrahimi2018", where="sec. 3.1, first-order estimate of a flip")
@dataclass(frozen=True)
class HotFlip(EvasionAttack[WordGradients[Ragged], Ragged]):
    r"""HotFlip: greedy word replacement by gradient.

    (i, w) = argmax over positions i and allowed words w of  (e_w - e_{x_i}) . dL/de_i
    x_i   <- w

    The first-order gain only proposes: the best few flips of each step are tried on the model, and
    the one that raises the loss most is made, if any does. A word is replaced at most once, so that
    the number of flips is the number of changed words. Which words are allowed is the space's
    affair, and success says nothing about whether the meaning was kept.
    """

    measures = ("words",)

    tries: int = hyper(4, "ours: flips tried on the model per step; the paper's beam is 10", low=1)

    def run(
        self,
        target: WordGradients[Ragged],
        x: Ragged,
        goal: Goal,
        budget: Budget,
        rng: Generator,
    ) -> Search[Ragged]:
        space = target.space
        options, room, adv = space.allowed(x), space.room(x, budget), x
        for step in range(int(room.max()) if options.numel() else 0):
            found = target.word_gradient(adv, goal.loss, options)
            keep = yield Candidate(adv, goal.degree(target.decode(found.raw)))
            adv, goal, options, room = take(keep, adv, goal, options, room)
            gain, raw = take(keep, found.wrt_input, found.raw)
            shut = (options < 0) | (room <= step).view(-1, 1, 1)
            best = gain.masked_fill(shut, -torch.inf).flatten(1)
            best = best.topk(min(self.tries, best.shape[1]))
            place = best.indices // options.shape[2]
            word = options.flatten(1).gather(1, best.indices)
            tried = self._losses(target, adv, goal, place, word.clamp(min=0))
            top, which = tried.masked_fill(best.values.isinf(), -torch.inf).max(1, keepdim=True)
            better = top > goal.loss(raw).unsqueeze(1)
            place, word = place.gather(1, which), word.gather(1, which)
            flip = better & (torch.arange(adv.data.shape[1], device=place.device) == place)
            adv = replace(adv, data=torch.where(flip, word, adv.data))
            options = options.masked_fill(flip.unsqueeze(2), -1)
        yield Candidate(adv, goal.degree(target.answer(adv)))

    @staticmethod
    def _losses(
        target: WordGradients[Ragged], x: Ragged, goal: Goal, place: Tensor, word: Tensor
    ) -> Tensor:
        """(N, T) losses of T tries per row, in each of which one word stands at one place."""
        count = place.shape[1]
        tried = (
            x.data.unsqueeze(1).repeat(1, count, 1).scatter_(2, place[..., None], word[..., None])
        )
        each = torch.arange(len(x), device=place.device).repeat_interleave(count)
        raw = target.scores(Ragged(tried.flatten(0, 1), x.length[each]))
        return goal.take(each).loss(raw).view(-1, count)
