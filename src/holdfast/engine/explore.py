"""Run any test generator: on how many seeds do models of one task come to disagree?"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Generator, Tensor

from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import Explored, TestGenerator
from holdfast.core.record import Measurement
from holdfast.core.run import Run
from holdfast.core.target import Answers, Gradient, Scores
from holdfast.engine.case import Case, Evidence, on, rate
from holdfast.engine.evasion import answers
from holdfast.engine.ledger import Ledger, view

PEERS = 2
"""Models trained for comparison where none are given."""


class Blind:
    """A target whose gradients are noise: the same search with it shows what guidance is worth.

    Each row keeps its random direction from step to step, so that it travels as far as a guided one.
    """

    def __init__(self, target: Any, rng: Generator) -> None:
        self._target, self._rng = target, rng
        self._way: Tensor | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    @property
    def space(self) -> Any:
        return self._target.space

    def answer(self, x: Tensor) -> Tensor:
        """The true answers."""
        return cast(Tensor, self._target.answer(x))

    def scores(self, x: Tensor) -> Tensor:
        """The true scores."""
        return cast(Tensor, self._target.scores(x))

    def decode(self, raw: Tensor) -> Tensor:
        """As the target decodes."""
        return cast(Tensor, self._target.decode(raw))

    def features(self, x: Tensor) -> Tensor:
        """The true features."""
        return cast(Tensor, self._target.features(x))

    def gradient(self, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Gradient:
        """Noise, with the true scores."""
        return Gradient(self._noise(x), self.scores(x))

    def feature_gradient(self, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Gradient:
        """Noise, with the true features."""
        return Gradient(self._noise(x), self.features(x))

    def _noise(self, x: Tensor) -> Tensor:
        if self._way is None or self._way.shape != x.shape:
            self._way = torch.empty_like(x).normal_(generator=self._rng)
        return self._way


def assess(method: TestGenerator[Any], case: Case, run: Run) -> Evidence:
    """Share of agreeing seeds on which the generator makes the models disagree.

    Seeds on which the models disagree from the start are no finds and are left out. Each seed
    counts once, however many inputs were made from it, and every input is judged anew. The control
    is the same search, with as many steps of the same size, in random directions.
    """
    target, data = case.target, case.test
    if not isinstance(target, Scores):
        raise NotApplicable("needs scores, which the target does not give")
    x = case.rows()
    peers = case.peers or trained_peers(case, run)
    models: list[Answers] = [target, *peers]
    said = torch.stack([answers(model, x, run) for model in models])
    rows = (said == said[0]).all(0).nonzero().flatten()
    if not len(rows):
        raise NotApplicable("the models agree on no row, so there is no seed to start from")
    seeds, ledger = x[rows], Ledger()
    before, after = explore(method, target, peers, seeds, run, ledger)
    hit = induced(models, after, seeds, run)
    rng = run.generator("blind")
    blind = tuple(cast(Scores, Blind(peer, rng)) for peer in peers)
    _, random = explore(method, Blind(target, rng), blind, seeds, run, Ledger())
    by_chance = induced(models, random, seeds, run)
    found, origin = one_each(after, hit)
    agreed = data.take(rows)
    measurements = [
        rate("clean accuracy", said[0] == data.y),
        rate("agreeing rows", len(rows), len(data)),
        rate("difference-inducing seeds", len(origin), len(rows)),
        rate(
            "difference-inducing seeds (random directions)",
            len(random.rows[by_chance].unique()),
            len(rows),
        ),
        _coverage("neuron coverage (seeds alone)", before),
        _coverage("neuron coverage", after),
        _coverage("neuron coverage (random directions)", random),
    ]
    if len(found):
        change = target.space.distance(found, seeds[origin], "linf").double()
        low, middle, high = (float(change.quantile(q)) for q in (0.25, 0.5, 0.75))
        measurements.append(
            Measurement("median change", middle, len(found), low, high, "quartiles")
        )
        blamed = answers(target, found, run) != said[0][rows][origin]
        measurements.append(rate("finds that this model answers differently", blamed))
    shown = slice(0, 8)
    tensors = {
        "clean": seeds[origin][shown], "generated": found[shown],
        "labels": agreed.y[origin][shown],
        "answers": torch.stack([answers(model, found[shown], run) for model in models], 1),
    }  # fmt: skip
    return Evidence(
        tuple(measurements), tensors, len(rows), ledger.forwards, ledger.backwards,
        ("coverage is a measure of how much was tried, not of robustness",),
    )  # fmt: skip


def trained_peers(case: Case, run: Run) -> tuple[Scores, ...]:
    """Models trained as the target was, on the same rows, from other initial weights."""
    recipe, data = case.any_recipe(), on(case.members(), run)
    return tuple(recipe.train(data, run.seed + 1000 + k) for k in range(PEERS))


def explore(
    method: TestGenerator[Any], target: object, peers: tuple[Scores, ...], seeds: Tensor, run: Run,
    ledger: Ledger,
) -> tuple[Explored, Explored]:  # fmt: skip
    """First and last state of a search, on the CPU."""
    first = last = None
    search = method.explore(
        view(method, target, ledger), peers, seeds.to(run.device), run.generator("explore")
    )
    for last in search:
        first = first or last
        run.progress(len(last.rows.unique()), len(seeds))
    if first is None or last is None:
        raise NotApplicable("the generator gave nothing")
    return _cpu(first), _cpu(last)


def induced(models: list[Answers], found: Explored, seeds: Tensor, run: Run) -> Tensor:
    """(M,) Boolean: a valid input on which the models disagree, by fresh forward passes."""
    if not len(found.x):
        return torch.zeros(0, dtype=torch.bool)
    said = torch.stack([answers(model, found.x, run) for model in models])
    valid = cast(Any, models[0]).space.contains(found.x)
    return (said != said[0]).any(0) & cast(Tensor, valid)


def one_each(found: Explored, hit: Tensor) -> tuple[Tensor, Tensor]:
    """The first input of every seed that was hit, and the seeds' positions, ascending."""
    rows = found.rows[hit]
    firsts = [int((rows == row).nonzero()[0]) for row in rows.unique()]
    return found.x[hit][firsts], rows[firsts]


def _coverage(name: str, state: Explored) -> Measurement:
    """A share that is counted, not sampled: its interval is the number itself."""
    return Measurement(name, state.coverage, state.units, state.coverage, state.coverage)


def _cpu(state: Explored) -> Explored:
    return replace(state, x=state.x.cpu(), rows=state.rows.cpu())
