"""Run any explainer and ask whether its explanations can be believed."""

import copy
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import Explainer
from holdfast.core.method import needs
from holdfast.core.record import Measurement
from holdfast.core.run import Run
from holdfast.core.target import Scores, Weights
from holdfast.engine.case import Case, Evidence, rate
from holdfast.engine.evasion import answers
from holdfast.engine.ledger import Ledger, view
from holdfast.ops.stats import mean_interval
from holdfast.targets.torch import TorchClassifier

STEPS = 15
"""Parts are removed in this many equal shares; the area is taken over them."""
NETWORKS = 5
"""Networks with fresh weights; one alone may correlate with the trained one by chance."""
UNCOUNTED = "passes through the model's own weights are not counted"
COMPARED = 32
"""Rows whose maps are compared with each fresh network's."""


def assess(method: Explainer[Any], case: Case, run: Run) -> Evidence:
    """Deletion score and randomisation check on the rows the model gets right.

    Deletion area: mean probability of the answer while the most attributed parts are removed
    first (Petsiuk et al. 2018); the lower, the better. Its control removes the same parts in random
    order. Correlation after randomisation: an explanation that hardly changes when the model's
    weights are replaced by fresh ones does not explain the model (Adebayo et al. 2018). Both look
    only at parts that differ from the removed state: a black background is equal in all maps and
    would make any two of them look alike.
    """
    target, data = cast(Any, case.target), case.test
    if not isinstance(target, Scores):
        raise NotApplicable("needs scores, which the target does not give")
    right = answers(target, case.rows(), run) == data.y
    rows = right.nonzero().flatten()
    if not len(rows):
        raise NotApplicable("the model gets no row right, so there is no answer to explain")
    x, y, ledger = data.tensor[rows], data.y[rows], Ledger()
    attribution = explain(method, target, x, y, run, ledger)
    gone = removed(data)
    areas = deletion(target, x, y, order(attribution, x, gone), gone, run)
    noise = torch.rand(x.shape, generator=run.generator("control"), device=run.device).cpu()
    control = deletion(target, x, y, order(noise, x, gone), gone, run)
    measurements = [
        rate("clean accuracy", right),
        _mean("deletion area", areas, 0.0),
        _mean("deletion area (random order)", control, 0.0),
    ]
    notes = [UNCOUNTED] if needs(type(method)) is Weights else []
    try:
        few = slice(0, COMPARED)
        values = randomised(method, target, x[few], y[few], attribution[few], gone, run)
        per_network = values.nanmean(1)
        if not per_network.isnan().any():
            measurements.append(_mean("correlation after randomisation", per_network, -1.0))
        if blank := int(values.isnan().any(0).sum()):
            notes.append(f"{blank} rows have a constant map with some network, which tells nothing")
    except NotApplicable as reason:
        notes.append(f"no randomisation check: {reason}")
    tensors = {"clean": x[:8], "attribution": attribution[:8]}
    return Evidence(
        tuple(measurements), tensors, len(rows), ledger.forwards, ledger.backwards, tuple(notes)
    )


def explain(
    method: Explainer[Any], target: object, x: Tensor, y: Tensor, run: Run, ledger: Ledger
) -> Tensor:
    """Attributions of the classes `y`, a batch at a time, on the CPU."""
    seen, parts = view(method, target, ledger), []
    for index in torch.arange(len(x)).split(run.batch_size):
        rng = run.generator("explain", int(index[0]))
        inputs, labels = x[index].to(run.device), y[index].to(run.device)
        parts.append(method.attribute(seen, inputs, labels, rng).detach().cpu())
    return torch.cat(parts)


def removed(data: Dataset) -> Tensor:
    """What a removed part looks like: black in images, the column's mean in tables."""
    x = data.tensor
    return torch.zeros_like(x[0]) if x.ndim == 4 else x.mean(0)


def order(importance: Tensor, x: Tensor, gone: Tensor) -> Tensor:
    """When each part is removed, (N, P) in (0, 1]; beyond 1 for parts that are gone already.

    A part is a pixel with all its channels, or a column. The most important part comes first.
    """
    total = importance.sum(1).flatten(1) if x.ndim == 4 else importance.flatten(1)
    there = _parts(x, gone)
    ranked = total.masked_fill(~there, -torch.inf).argsort(dim=1, descending=True).argsort(dim=1)
    when = (ranked + 1) / there.sum(1, keepdim=True).clamp(min=1)
    return when.masked_fill(~there, 2.0)


def deletion(target: Scores, x: Tensor, y: Tensor, when: Tensor, gone: Tensor, run: Run) -> Tensor:
    """(N,) area under the probability of `y` while parts are removed in the order `when`."""
    curve = []
    for step in range(STEPS + 1):
        drop = when <= step / STEPS + 1e-6
        mask = drop.view(len(x), 1, *x.shape[2:]) if x.ndim == 4 else drop.view_as(x)
        inputs = torch.where(mask, gone, x)
        scores = [target.scores(part.to(run.device)).cpu() for part in inputs.split(run.batch_size)]
        curve.append(torch.cat(scores).softmax(1).gather(1, y[:, None]).flatten())
    return torch.trapezoid(torch.stack(curve), dx=1 / STEPS, dim=0)


def fresh(module: nn.Module, seed: int) -> nn.Module:
    """A copy with all weights drawn anew by each layer's own initialisation.

    Raises:
        NotApplicable: a layer holds weights that it cannot draw anew.
    """
    new = copy.deepcopy(module)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in new.modules():
            reset = getattr(layer, "reset_parameters", None)
            if callable(reset):
                reset()
            elif any(True for _ in layer.parameters(recurse=False)):
                raise NotApplicable(f"{type(layer).__name__} cannot draw its weights anew")
    return new


def signed_rank_correlation(a: Tensor, b: Tensor, x: Tensor, gone: Tensor) -> Tensor:
    """Spearman's correlation of two maps per row, over the values of `x` that are not gone.

    NaN where a map is constant there or fewer than three values are left.
    """
    there = (x != gone).flatten(1)
    found = [
        _spearman(p[m], q[m]) for p, q, m in zip(a.flatten(1), b.flatten(1), there, strict=True)
    ]
    return torch.tensor(found)


def randomised(
    method: Explainer[Any], target: object, x: Tensor, y: Tensor, trained: Tensor, gone: Tensor,
    run: Run,
) -> Tensor:  # fmt: skip
    """(NETWORKS, N) correlations of the trained model's maps with those of fresh networks."""
    if not isinstance(target, Weights):
        raise NotApplicable("needs the weights, to replace them by fresh ones")
    found = []
    for network in range(NETWORKS):
        run.progress(network + 1, NETWORKS + 1)
        other = TorchClassifier(fresh(target.module, run.seed + network), cast(Any, target.space))
        maps = explain(method, other, x, y, run, Ledger())
        found.append(signed_rank_correlation(trained, maps, x, gone))
    run.progress(NETWORKS + 1, NETWORKS + 1)
    return torch.stack(found)


def _parts(x: Tensor, gone: Tensor) -> Tensor:
    """(N, P) Boolean: parts that removal would change."""
    there = x != gone
    return there.any(1).flatten(1) if x.ndim == 4 else there.flatten(1)


def _spearman(a: Tensor, b: Tensor) -> float:
    from scipy.stats import rankdata

    if len(a) < 3 or bool((a == a[0]).all()) or bool((b == b[0]).all()):
        return float("nan")
    return float(np.corrcoef(rankdata(a.numpy()), rankdata(b.numpy()))[0, 1])


def _mean(name: str, values: Tensor, least: float) -> Measurement:
    """Mean with its interval; values lie between `least` and one."""
    numbers = values.double().numpy()
    low, high = mean_interval(numbers)
    return Measurement(name, float(numbers.mean()), len(numbers), max(least, low), min(1.0, high))
