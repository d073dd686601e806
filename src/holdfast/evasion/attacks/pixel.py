"""Few-pixel attack (Su, Vargas and Sakurai 2019)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.errors import NotApplicable
from holdfast.core.goal import Goal
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget
from holdfast.core.target import Scores
from holdfast.evasion.scored import Problem, odds
from holdfast.ops import evolution, squares
from holdfast.ops.rows import take


@method(cites="su2019", where="sec. III")
@dataclass(frozen=True)
class Pixel(EvasionAttack[Scores]):
    r"""Few-pixel attack.

    A member of the population is a list of pixels: place (row, column) and colour of each. In every
    generation member i has one child, without crossover,

    child_i = r_1 + F (r_2 - r_3),   r_1, r_2, r_3 other members at random,

    which takes its parent's place where it lowers the probability of the label (or raises that of
    the wanted class) at least as far. Genes that leave their range are clipped to it.

    The budget counts features: a pixel of an image with C channels is C of them, so `eps` buys
    eps / C pixels, rounded down, and below C nothing can be done. Inputs that are no images are a
    line of features, each a pixel of its own.
    """

    measures = ("l0",)

    steps: int = hyper(100, "sec. III-B, generations", low=1)
    population: int = hyper(400, "sec. III-B", low=4)
    weight: float = hyper(0.5, "sec. III-B, F", low=0, high=2)

    def run(self, target: Scores, x: Tensor, goal: Goal, budget: Budget, rng: Generator) -> Search:
        at = Problem(target, x, goal, budget)
        keep = yield Candidate(x, at.degree(x))
        at, channels = at.take(keep), squares.images(x).shape[1]
        room = torch.as_tensor(at.budget.eps, dtype=torch.float64, device=x.device)
        most = (room / channels + 1e-9).floor().expand(len(at.x))
        count = int(min(float(most.max()), at.x[0].numel() / channels))
        if count == 0:
            return
        bounds = self._bounds(at)
        genes = torch.rand(
            len(at.x), self.population, count, 2 + channels, generator=rng, device=rng.device
        ).to(x)  # fmt: skip
        colours = torch.empty_like(genes[..., 2:]).normal_(0.5, 0.5, generator=rng).clamp(0, 1)
        genes = torch.cat([genes[..., :2], colours], 3).flatten(2)
        fitness, shown, degree = at.contest(genes, self._decoder(at, most, bounds), odds)
        for _ in range(self.steps):
            keep = yield Candidate(shown, degree)
            at, (genes, fitness, most) = at.take(keep), take(keep, genes, fitness, most)
            children = evolution.mutants(genes, fitness, self.weight, rng, best=False)
            theirs, shown, degree = at.contest(children, self._decoder(at, most, bounds), odds)
            genes, fitness = evolution.select(genes, fitness, children, theirs)
        yield Candidate(shown, degree)

    def _bounds(self, at: Problem) -> tuple[Tensor, Tensor]:
        """Lowest and highest value of every feature, (C, H W) each."""
        low, high = (
            squares.images(torch.as_tensor(v).to(at.x).expand_as(at.x[:1]))[0].flatten(1)
            for v in (at.space.low, at.space.high)
        )
        if not (low.isfinite().all() and high.isfinite().all()):
            raise NotApplicable("needs inputs with bounds, between which colours are drawn")
        return low, high

    def _decoder(
        self, at: Problem, most: Tensor, bounds: tuple[Tensor, Tensor]
    ) -> Callable[[Tensor], Tensor]:
        """What makes inputs of genes; a row may change `most` (N,) pixels, its first ones."""
        pictures, (low, high) = squares.images(at.x), bounds
        channels, height, width = pictures.shape[1:]

        def decode(genes: Tensor) -> Tensor:
            n, count = genes.shape[:2]
            part = genes.view(n, count, -1, 2 + channels)
            row = (part[..., 0] * height).long().clamp(max=height - 1)
            column = (part[..., 1] * width).long().clamp(max=width - 1)
            flat = pictures.flatten(2).unsqueeze(1).repeat(1, count, 1, 1)
            place = (row * width + column).unsqueeze(2).expand(-1, -1, channels, -1)
            least, span = low.expand_as(flat), (high - low).expand_as(flat)
            value = least.gather(3, place) + span.gather(3, place) * part[..., 2:].transpose(2, 3)
            slot = torch.arange(place.shape[3], device=genes.device)
            for k in slot.tolist():  # pixels one after the other: two of them may share a place
                new = flat.scatter(3, place[..., k : k + 1], value[..., k : k + 1])
                flat = torch.where((k < most).view(-1, 1, 1, 1), new, flat)
            points = flat.view(n, count, *at.x.shape[1:])
            return at.space.within(points, at.x.unsqueeze(1))

        return decode
