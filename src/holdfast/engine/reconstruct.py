"""Run reconstruction attacks: model inversion, and leakage from shared gradients."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable, QueriesSpent
from holdfast.core.kinds import ReconstructionAttack
from holdfast.core.method import needs
from holdfast.core.recipe import TorchRecipe
from holdfast.core.record import Measurement
from holdfast.core.run import Run
from holdfast.core.space import Box
from holdfast.core.target import Answers, SharedGradients, Weights
from holdfast.engine.case import Case, Evidence, rate
from holdfast.engine.evasion import answers
from holdfast.engine.ledger import Ledger, view
from holdfast.ops.rows import Ragged
from holdfast.ops.stats import mean_interval
from holdfast.targets.federated import FederatedClient

CLIENTS = 4
"""Private batches of one that are attacked per model."""
RECOVERED = 30.0
"""dB; above it an image is recognised as the same by eye."""
PERFECT = 100.0
"""dB; no more is told, as the exact image has infinitely many."""


def reconstruct(
    method: ReconstructionAttack[Any], target: object, labels: Tensor, like: Tensor, run: Run
) -> tuple[Tensor, Ledger]:
    """The method's last reconstruction within the allowance, one row per label."""
    ledger = Ledger(run.queries, active=len(labels))
    best = torch.full_like(like, torch.nan)
    try:
        search = method.reconstruct(
            view(method, target, ledger), labels, like, run.generator("reconstruct")
        )
        for better in search:
            best = better
    except QueriesSpent:  # the best so far stands
        pass
    return best, ledger


def assess(method: ReconstructionAttack[Any], case: Case, run: Run) -> Evidence:
    """Judge what is recovered, by the access that the method declares."""
    if isinstance(case.test.x, Ragged) or not case.test.tensor.is_floating_point():
        raise NotApplicable("needs inputs of real numbers and of one shape, such as images")
    if needs(type(method)) is SharedGradients:
        return _gradients(method, case, run)
    return _inversion(method, case, run)


def similarity(a: Tensor, b: Tensor) -> Tensor:
    """Correlation over the values of every row of `a` (N, ...) with every row of `b`: (N, M)."""
    a, b = (v.flatten(1).double() for v in (a, b))
    a, b = (v - v.mean(1, keepdim=True) for v in (a, b))
    a, b = (v / v.norm(dim=1, keepdim=True).clamp(min=1e-12) for v in (a, b))
    return a @ b.T


def psnr(x: Tensor, truth: Tensor, span: float) -> Tensor:
    """Peak signal-to-noise ratio of every row in dB, `span` being the range of valid values.

    Rows that are not finite count as 0 dB, exact ones as PERFECT.
    """
    mse = (x - truth).flatten(1).double().square().mean(1)
    ratio = 10 * (span**2 / mse.clamp(min=1e-30)).log10()
    return ratio.nan_to_num(nan=0.0, neginf=0.0).clamp(max=PERFECT)


def _inversion(method: ReconstructionAttack[Any], case: Case, run: Run) -> Evidence:
    """One reconstruction per class, judged by a model that shares no rows with the attacked one."""
    train, test = case.members(), case.test
    judge = case.any_recipe().train(test, run.seed + 1)
    labels = test.y.unique()
    labels = labels[torch.isin(labels, train.y)]
    like = torch.zeros_like(test.tensor[:1]).repeat(len(labels), *[1] * (test.tensor.ndim - 1))
    found, ledger = reconstruct(method, case.target, labels, like, run)
    if not bool(found.isfinite().all()):
        raise NotApplicable("the attack made no finite reconstruction within its allowance")
    noise = torch.rand(
        10 * len(labels), *like.shape[1:], generator=run.generator("control"), dtype=like.dtype
    )
    low, high = float(train.tensor.min()), float(train.tensor.max())
    means = torch.stack([train.tensor[train.y == k].mean(0) for k in labels])
    own, other = (_nearest(found, labels, train, test), _nearest(found, labels, test, train))
    measurements = (
        rate("recognised by an independent model", answers(judge, found, run) == labels),
        rate(
            "recognised by the attacked model",
            answers(cast(Answers, case.target), found, run) == labels,
        ),
        rate(
            "noise recognised by an independent model",
            answers(judge, low + (high - low) * noise, run) == labels.repeat(10),
        ),
        rate("accuracy of the independent model", answers(judge, train.tensor, run) == train.y),
        _mean("similarity to class mean", similarity(found, means).diagonal()),
        _mean("similarity to nearest training row", own),
        _mean("similarity to nearest held-out row", other),
    )
    tensors = {"truth": means[:10].float(), "reconstruction": found[:10].float()}
    note = (
        "similarity to the class mean is leakage about the class; leakage about a person would "
        "need training rows to be nearer than held-out ones"
    )
    return Evidence(measurements, tensors, len(labels), ledger.forwards, ledger.backwards, (note,))


def _nearest(found: Tensor, labels: Tensor, among: Dataset, beside: Dataset) -> Tensor:
    """Similarity of each row to its class's nearest row, from as many as `beside` also has."""
    best = []
    for x, k in zip(found, labels, strict=True):
        count = min(int((among.y == k).sum()), int((beside.y == k).sum()))
        rows = among.tensor[among.y == k][:count]
        best.append(similarity(x.unsqueeze(0), rows).amax())
    return torch.stack(best)


class _Leak(NamedTuple):
    """What one model's gradients gave away."""

    measurements: list[Measurement]
    truth: Tensor
    found: Tensor
    forwards: int
    backwards: int


def _gradients(method: ReconstructionAttack[Any], case: Case, run: Run) -> Evidence:
    """Private batches of one row, for the model as it is and as it was before training."""
    if not isinstance(case.target, Weights):
        raise NotApplicable("needs the model's weights, as every federated client has")
    models = {"trained": case.target.module}
    if isinstance(case.recipe, TorchRecipe):
        models["fresh"] = case.recipe.build(run.seed)
    rows = torch.randperm(len(case.test), generator=run.generator("clients"))[:CLIENTS]
    private = case.test.take(rows)
    leaks = []
    for i, (name, module) in enumerate(models.items()):
        leaks.append(_leak(method, module, private, case, f"model={name}", run))
        run.progress(i + 1, len(models))
    notes = [
        "each client shares the gradient of a single row; larger batches give away less",
        "a fresh model is what clients meet in the first round, where gradients tell most",
    ]
    if any(isinstance(m, nn.ReLU) for m in case.target.module.modules()):
        notes.append(
            "the search needs second derivatives, which ReLU lacks: where it fails on this "
            "model, that is no proof of privacy"
        )
    return Evidence(
        tuple(m for leak in leaks for m in leak.measurements),
        {
            "truth": torch.cat([leak.truth for leak in leaks]).float(),
            "reconstruction": torch.cat([leak.found for leak in leaks]).float(),
        },
        len(private) * len(leaks),
        sum(leak.forwards for leak in leaks),
        sum(leak.backwards for leak in leaks),
        tuple(notes),
    )


def _leak(
    method: ReconstructionAttack[Any], module: nn.Module, private: Dataset, case: Case, part: str,
    run: Run,
) -> _Leak:  # fmt: skip
    forwards = backwards = 0
    found = []
    unknown = torch.full((1,), -1)
    for i in range(len(private)):
        x, y = private.tensor[i : i + 1], private.y[i : i + 1]
        client = FederatedClient(module, x, y, cast(Any, private.space))
        got, ledger = reconstruct(method, client, unknown, torch.zeros_like(x), run)
        found.append(got)
        forwards, backwards = forwards + ledger.forwards, backwards + ledger.backwards
    recovered, truth = torch.cat(found), private.tensor
    if isinstance(private.space, Box):
        recovered = private.space.clamp(recovered)  # anyone who looks knows what is valid
    known = case.train if case.train is not None else case.test
    span = float(known.tensor.max() - known.tensor.min())
    ratio = psnr(recovered, truth, span)
    mean = known.tensor.mean(0, keepdim=True).expand_as(truth)
    measurements = [
        rate("recovered images", ratio > RECOVERED, part=part),
        rate("images guessed by their mean", psnr(mean, truth, span) > RECOVERED, part=part),
        _mean("mean PSNR", ratio, part, "dB"),
    ]
    return _Leak(measurements, truth, recovered.nan_to_num(0.0), forwards, backwards)


def _mean(name: str, values: Tensor, part: str = "", unit: str = "") -> Measurement:
    low, high = mean_interval(values.double().numpy())
    return Measurement(name, float(values.mean()), len(values), low, high, part, unit)
