"""Unrestricted examples from a conditional GAN (Song, Shu, Kushman and Ermon 2018)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.core.goal import AwayFrom, Goal, ToClass, of_classes
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.record import Value
from holdfast.core.space import Box, Budget
from holdfast.core.target import Gradients
from holdfast.ops import balls, losses, surrogates
from holdfast.ops.generators import Conditional, conditional, reader
from holdfast.ops.rows import take


@method(cites="song2018", where="sec. 3.2, eq. 2 to 5")
@dataclass(frozen=True)
class GANUnrestricted(EvasionAttack[Gradients]):
    r"""Unrestricted adversarial examples (AC-GAN).

    New inputs of a row's class, x = g(z, y), that the target misreads: from z_0 ~ N(0, I), descend

    J(z) = -log f(k | x) + lambda1 mean_i max((z_i - z0_i)^2 - near^2, 0) - lambda2 log c(y | x)

    where k is the wanted class or the best rival of y, and c is the GAN's auxiliary classifier,
    which in the end must name y with probability `sure`, or as surely as half of the plain images
    g(z_0, y). Steps are cut to length `rate`. The rows themselves only give their class; where
    nothing is found they stay as they are. The GAN learns from half of the training rows. From the
    other half learns an independent classifier, which has no part in the search and says afterwards
    whether inputs still show their class (the paper asked people). Without training rows it learns
    from the rows under attack, and nobody says.
    """

    measures = ("any",)

    steps: int = hyper(20, "ours: authors' code takes 1000; many starts do better", low=1)
    tries: int = hyper(30, "ours: starts z_0 per row; authors' code has no limit", low=1)
    rate: float = hyper(0.3, "ours: longest step, as codes have unit spread", low=0)
    near: float = hyper(1.0, "ours: authors' 0.1 is for 128 numbers and leaves 16 no room", low=0)
    lambda1: float = hyper(10.0, "ours: likewise; authors' code has 100", low=0)
    lambda2: float = hyper(100.0, "authors' code", low=0)
    sure: float = hyper(0.99, "ours: authors' code takes any c that prefers y", low=0, high=1)
    latent: int = hyper(16, "ours: for digits; authors' code has 128", low=1)
    lessons: int = hyper(3000, "ours: training steps of the GAN, at most", low=0)

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        answer = target.answer(x)
        keep = yield Candidate(x, goal.degree(answer))
        x, goal, answer = take(keep, x, goal, answer)
        labels = answer if isinstance(goal, ToClass) else of_classes(goal).labels
        gan = self._gan(x, labels, int(labels.max()) + 1, cast(Box, target.space), rng)
        yield from self.search(gan, target, x, goal, rng)

    def learn(self, data: Dataset, rng: Generator) -> EvasionAttack[Gradients]:
        """The attack with a GAN of one half of `data`, and a classifier of the other."""
        x, classes, half = data.tensor, len(data.classes), len(data) // 2
        if half < 10 * classes:
            raise NotApplicable(f"needs {20 * classes} training rows for its GAN, has {len(data)}")
        order = torch.randperm(len(x), generator=rng, device=rng.device).to(x.device)
        mine, others = order[:half], order[half:]
        gan = self._gan(x[mine], data.y[mine], classes, cast(Box, data.space), rng)
        made = surrogates.seeded(lambda: reader(tuple(x.shape[1:]), classes), rng)
        lessons = min(max(500, len(others) // 12), 2500)
        apart = surrogates.fit(made, x[others], data.y[others], cross_entropy, lessons, rng)
        return WithGAN(self, gan, apart)

    def search(
        self, gan: Conditional, target: Gradients, x: Tensor, goal: Goal, rng: Generator
    ) -> Search:
        """Search near random codes; a row's own class is what the target answers or must leave."""
        aim, space = of_classes(goal), cast(Box, target.space)
        labels = target.answer(x) if isinstance(goal, ToClass) else aim.labels
        level: float | None = None
        for _ in range(self.tries):
            start = torch.empty(len(x), self.latent, device=x.device).normal_(generator=rng)
            z = start
            for _ in range(self.steps):
                with torch.enable_grad():
                    code = z.detach().requires_grad_()
                    made = space.within(gan.made(code, labels), x)
                    said = gan.told(made)[1]
                    got = target.gradient(made.detach(), partial(_wanted, aim))
                    far = ((code - start).square() - self.near**2).clamp(min=0).mean(1).sum()
                    kept = cross_entropy(said, labels, reduction="sum")
                    gain = (made * got.wrt_input).sum() - self.lambda1 * far - self.lambda2 * kept
                    way = torch.autograd.grad(gain, code)[0]
                named = said.softmax(1).gather(1, labels.view(-1, 1)).squeeze(1)
                if level is None:
                    level = min(self.sure, float(named.detach().median()))
                degree = aim.degree(target.decode(got.raw)) * (named >= level)
                found = torch.where(balls.rows(degree, x) > 0, made.detach(), x)
                keep = yield Candidate(found, degree)
                x, z, aim, labels, start, way = take(keep, x, z, aim, labels, start, way)
                z = z + way * (self.rate / balls.rows(balls.size(way, "l2"), way)).clamp(max=1)

    def _gan(
        self, x: Tensor, labels: Tensor, classes: int, space: Box, rng: Generator
    ) -> Conditional:
        low, high = (
            torch.as_tensor(e, dtype=x.dtype, device=x.device) for e in (space.low, space.high)
        )
        if not (low.isfinite().all() and high.isfinite().all()):
            raise NotApplicable("needs inputs with bounds, between which its GAN can make some")
        # a few rows are soon learned by heart
        lessons = min(self.lessons, 40 * len(x), 1000 + len(x) // 10)
        return conditional(x, labels, classes, (low, high), self.latent, lessons, rng)


def _wanted(aim: AwayFrom, raw: Tensor) -> Tensor:
    """Log-probability of the wanted class, or of the best rival of the label."""
    return aim.loss(raw) if isinstance(aim, ToClass) else losses.rival(raw, aim.labels)


@dataclass(frozen=True, eq=False)
class WithGAN(EvasionAttack[Gradients]):
    """The attack with a GAN that was trained before, and an independent classifier."""

    measures = ("any",)

    method: GANUnrestricted
    gan: Conditional
    apart: nn.Module = field(repr=False)

    @property
    def params(self) -> Mapping[str, Value]:
        """Those of the method."""
        return self.method.params

    def judge(self, x: Tensor) -> Tensor:
        """Classes that the inputs show."""
        return torch.argmax(self.apart(x), 1)

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        yield from self.method.search(self.gan, target, x, goal, rng)
