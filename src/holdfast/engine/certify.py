"""Run any certifier: what share of rows is answered rightly whatever happens within a radius."""

from typing import Any, cast

import torch
from torch import Tensor

from holdfast.core.errors import NotApplicable
from holdfast.core.goal import AwayFrom
from holdfast.core.kinds import Certifier
from holdfast.core.method import needs
from holdfast.core.record import Measurement
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.core.target import Answers, Gradients, Weights
from holdfast.engine.case import Case, Evidence, rate
from holdfast.engine.evasion import answers
from holdfast.engine.ledger import Ledger, view
from holdfast.ops.stats import mean_interval

TRIES = 8
"""Random inputs at the edge of each certified ball, beside one along the gradient."""


def assess(method: Certifier[Any], case: Case, run: Run) -> Evidence:
    """Certified accuracy at every budget of the threat model.

    A certificate that holds with certainty is put to the test: inputs at the edge of its ball, one
    along the gradient and some in random directions, must all be answered as before.
    """
    target, data = cast(Any, case.target), case.test
    if case.threat.measure not in (None, method.measure):
        raise NotApplicable(f"certifies {method.measure} radii, not {case.threat.measure}")
    if not isinstance(target, Answers):
        raise NotApplicable("needs answers, which the target does not give")
    x, ledger = case.rows(), Ledger()
    radius = certify(method, target, x, data.y, run, ledger)
    measurements = [rate("clean accuracy", answers(target, x, run) == data.y)]
    measurements += [
        rate("certified accuracy", radius >= eps, part=f"eps={eps:g}") for eps in case.threat.eps
    ]
    measurements.append(rate("abstained or wrong", radius < 0))
    mean = radius.clamp(min=0).double().numpy()
    low, high = mean_interval(mean)
    if len(mean) > 1:
        measurements.append(
            Measurement(
                "average certified radius", float(mean.mean()), len(mean), max(0.0, low), high
            )
        )
    if method.holds_with == "certainty":
        rows = (radius > 0).nonzero().flatten()
        if len(rows):
            broken = refuted(method, target, x[rows], data.y[rows], radius[rows], run)
            measurements.append(rate("refuted certificates", broken))
    notes: tuple[str, ...] = (f"certificates hold with {method.holds_with}",)
    if needs(type(method)) is Weights:
        notes = (*notes, "passes through the model's own weights are not counted")
    return Evidence(
        tuple(measurements), {"radius": radius}, len(data), ledger.forwards, ledger.backwards, notes
    )


def certify(
    method: Certifier[Any], target: object, x: Tensor, y: Tensor, run: Run, ledger: Ledger
) -> Tensor:
    """(N,) certified radii, a batch at a time; negative where wrong or abstained."""
    seen, parts = view(method, target, ledger), [torch.zeros(0)]
    for index in torch.arange(len(x)).split(run.batch_size):
        if len(index):
            rng = run.generator("certify", int(index[0]))
            inputs, labels = x[index].to(run.device), y[index].to(run.device)
            parts.append(method.radius(seen, inputs, labels, rng).detach().float().cpu())
            run.progress(int(index[-1]) + 1, len(x))
    return torch.cat(parts)


def refuted(
    method: Certifier[Any], target: Any, x: Tensor, y: Tensor, radius: Tensor, run: Run
) -> Tensor:
    """(N,) Boolean: some input within the radius has another answer."""
    broken = torch.zeros(len(x), dtype=torch.bool)
    rng = run.generator("refute")
    for index in torch.arange(len(x)).split(run.batch_size):
        inputs, labels = x[index].to(run.device), y[index].to(run.device)
        budget = Budget(method.measure, radius[index].to(run.device))
        ways = [torch.empty_like(inputs).normal_(generator=rng) for _ in range(TRIES)]
        if isinstance(target, Gradients):
            ways.append(target.gradient(inputs, AwayFrom(labels).loss).wrt_input)
        for way in ways:
            step = budget.rows(inputs) * target.space.steepest(way, inputs, budget)
            there = target.space.project(inputs + step, inputs, budget)
            broken[index] |= (target.answer(there) != labels).cpu()
    return broken
