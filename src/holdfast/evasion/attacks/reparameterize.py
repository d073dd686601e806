"""Reparameterisation (Athalye, Carlini and Wagner 2018)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Generator, Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.goal import Goal, of_classes
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.record import Value
from holdfast.core.space import Box, Budget
from holdfast.core.target import Gradients
from holdfast.ops import balls
from holdfast.ops.rows import take
from holdfast.ops.surrogates import Autoencoder, autoencoder, pulled


@method(cites="athalye2018", where="sec. 4.3")
@dataclass(frozen=True)
class Reparameterize(EvasionAttack[Gradients]):
    r"""Reparameterisation attack.

    x = h(z):  a defence that projects onto the range of a generator h leaves it alone, so the
    attack optimises z,

    z_{t+1} = z_t + rate_t * v / |v|_2,   v = J_h(z_t)^T grad margin(f(h(z_t)))   within the budget,
                                          v = J_h(z_t)^T (Pi(h(z_t)) - h(z_t))    outside of it

    where Pi projects onto the ball around the input. What it proposes is h(z) itself, never a point
    that was moved off the range; rows that h cannot reach within the budget stand. h is the decoder
    of an autoencoder of the training rows, or where there are none, of the rows under attack. It is
    a stand-in: an attacker who holds the defence's own generator would use that.
    """

    measures = ("linf", "l2", "l1")

    latent: int = hyper(24, "ours: numbers in a code; 8 x 8 digits need about 20", low=1)
    steps: int = hyper(200, "ours", low=1)
    rate: float = hyper(0.3, "ours: first length of a step, in spreads of a code", low=0)
    lessons: int = hyper(2000, "ours: training steps of the autoencoder", low=0)

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        keep = yield Candidate(x, goal.degree(target.answer(x)))
        x, goal, budget = take(keep, x, goal, budget)
        net = self._autoencoder(x, cast(Box, target.space), rng)
        yield from self.climb(target, net.decoder, net.encoder(x), x, goal, budget)

    def learn(self, data: Dataset, rng: Generator) -> EvasionAttack[Gradients]:
        """The attack with a generator of `data`."""
        return WithRange(self, self._autoencoder(data.tensor, cast(Box, data.space), rng))

    def climb(
        self, target: Gradients, decode: Callable[[Tensor], Tensor], z: Tensor, x: Tensor,
        goal: Goal, budget: Budget,
    ) -> Search:  # fmt: skip
        """Climb from the codes z (N, latent), by steps that shrink along a line to zero."""
        space, aim = cast(Box, target.space), of_classes(goal)
        for step in range(self.steps):
            adv = space.within(decode(z), x)  # frozen features stay; else this changes nothing
            got = target.gradient(adv, aim.margin)
            keep = yield Candidate(adv, aim.degree(target.decode(got.raw)))
            x, z, adv, aim, budget, grad = take(keep, x, z, adv, aim, budget, got.wrt_input)
            home = space.project(adv, x, budget) - adv
            outside = space.distance(adv, x, budget.measure) > budget.rows(z).flatten() * (1 + 1e-4)
            way = pulled(decode, z, torch.where(balls.rows(outside, adv) > 0, home, grad))
            z = z + self.rate * (1 - step / self.steps) * balls.steepest(way, "l2")
        adv = space.within(decode(z), x)
        yield Candidate(adv, aim.degree(target.answer(adv)))

    def _autoencoder(self, rows: Tensor, space: Box, rng: Generator) -> Autoencoder:
        low, high = (
            torch.as_tensor(end, dtype=rows.dtype, device=rows.device)
            for end in (space.low, space.high)
        )
        if not (low.isfinite().all() and high.isfinite().all()):
            flat = rows.flatten(1)
            low, high = (end.view(rows.shape[1:]) for end in (flat.amin(0), flat.amax(0)))
        lessons = min(self.lessons, 40 * len(rows))  # a few rows are soon learned by heart
        return autoencoder(rows, low, high, self.latent, lessons, rng)


@dataclass(frozen=True, eq=False)
class WithRange(EvasionAttack[Gradients]):
    """The attack with a generator that was trained before."""

    measures = Reparameterize.measures

    method: Reparameterize
    net: Autoencoder

    @property
    def params(self) -> Mapping[str, Value]:
        """Those of the method."""
        return self.method.params

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        keep = yield Candidate(x, goal.degree(target.answer(x)))
        x, goal, budget = take(keep, x, goal, budget)
        codes = self.net.encoder(x)
        yield from self.method.climb(target, self.net.decoder, codes, x, goal, budget)
