"""Train on poisoned copies of the data and measure what the poison did."""

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError, NotApplicable
from holdfast.core.kinds import Aim, Poisoned, PoisoningAttack
from holdfast.core.record import Measurement
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.core.target import Features
from holdfast.engine.backdoor import right, trained
from holdfast.engine.case import Case, Evidence, on, rate
from holdfast.engine.evasion import answers
from holdfast.engine.ledger import Ledger, view
from holdfast.ops.stats import mean_interval

RATES = (0.1, 0.3)
"""Shares of the training rows that are changed when the model is to err in general."""
SEEDS = 2
"""Trainings per rate."""
VICTIMS = 10
VICTIM_RATE = 0.01
"""Share of the training rows that is changed for one victim."""


def assess(method: PoisoningAttack[Any], case: Case, run: Run) -> Evidence:
    """Loss of accuracy, or misread victims, of models trained on poisoned rows."""
    return _victims(method, case, run) if method.aims == "victims" else _accuracy(method, case, run)


def drop(before: Tensor, after: Tensor, name: str, part: str = "") -> Measurement:
    """Mean of paired differences of right answers; (S, N) Booleans, averaged over S trainings."""
    difference = (before.double().mean(0) - after.double().mean(0)).numpy()
    low, high = mean_interval(np.asarray(difference, dtype=np.float64))
    return Measurement(name, float(difference.mean()), len(difference), low, high, part)


def _accuracy(method: PoisoningAttack[Any], case: Case, run: Run) -> Evidence:
    """Accuracy lost to poison by rate, and one class misread as another.

    Control: the accuracy that is lost between two trainings on clean rows.
    """
    recipe, data, test = case.any_recipe(), on(case.members(), run), case.test
    if len(data.classes) < 2:
        raise NotApplicable("needs at least two classes")
    ledger = Ledger()
    surrogate = view(method, case.target, ledger)
    steps, done = SEEDS * (1 + len(RATES)) + 1, 0

    def models_of(rows: Dataset) -> list[Any]:
        nonlocal done
        models = []
        for number in range(SEEDS):
            models.append(trained(recipe, rows, run, "victim", number))
            done += 1
            run.progress(done, steps)
        return models

    clean = models_of(data)
    base = torch.stack([right(model, test, run) for model in clean])
    found = [
        rate("clean accuracy", base[0]),
        drop(base[:1], base[1:], "accuracy drop between two clean trainings"),
    ]
    for share in RATES:
        poisoned = method.poison(surrogate, data, Aim(share), run.generator("poison", share))
        hits = torch.stack([right(model, test, run) for model in models_of(poisoned.data)])
        part = f"rate={share:g}"
        found.append(rate("poisoned accuracy", hits[0], part=part))
        found.append(drop(base, hits, "accuracy drop", part))
    source, wanted = _pair(data, test, run)
    half = int((data.y == source).sum()) / 2 / len(data)
    aim = Aim(half, wanted, source)
    poisoned = method.poison(surrogate, data, aim, run.generator("poison", "pair"))
    victim = trained(recipe, poisoned.data, run, "victim", 0)
    run.progress(steps, steps)
    rows = test.tensor[test.y == source]
    part = f"rate={half:.2g}"
    name = "half-flipped class answered as the other"
    found.append(rate(name, answers(victim, rows, run) == wanted, part=part))
    found.append(rate(f"{name} without poison", answers(clean[0], rows, run) == wanted))
    notes = (
        f"mean of {SEEDS} trainings per rate; the intervals are over held-out rows, not trainings",
        f"half of the labels of class {data.classes[source]} are changed to {data.classes[wanted]}"
        " in the targeted run, one training",
    )
    return Evidence(tuple(found), {}, len(test), ledger.forwards, ledger.backwards, notes)


def _pair(data: Dataset, test: Dataset, run: Run) -> tuple[int, int]:
    """Two different classes of the data; the first, which is to be misread, is also in the test."""
    present = data.y.unique().cpu()
    present = present[run.order(len(present), "pair")]
    judged = present[torch.isin(present, test.y.cpu())]
    if len(present) < 2 or not len(judged):
        raise NotApplicable("needs rows of at least two classes, and held-out rows of one of them")
    source = int(judged[0])
    return source, int(present[present != source][0])


def _victims(method: PoisoningAttack[Any], case: Case, run: Run) -> Evidence:
    """Share of victims that are misread once the last layer is trained anew on poisoned rows.

    This is transfer learning: the features stay, a logistic regression on them is the victim's
    model. Control: random noise of the same size on the same rows.
    """
    data, test, ledger = on(case.members(), run), case.test, Ledger()
    surrogate = view(method, case.target, ledger)
    target = cast(Features, case.target)
    if len(data.y.unique()) < 2:
        raise NotApplicable("needs training rows of at least two classes")
    if not isinstance(target, Features):
        raise NotApplicable("the victim trains the last layer anew, so features are needed")
    known, queries = _features(target, data.tensor, run), _features(target, test.tensor, run)
    head = _head(known, data.y)
    clean = _answer(head, queries) == test.y
    right_rows = clean.nonzero().flatten()
    chosen = right_rows[run.order(len(right_rows), "victims")[:VICTIMS]]
    if not len(chosen):
        raise NotApplicable("needs test rows that a new last layer gets right")
    hits, idle, drops, shown = [], [], [], None
    for number, row in enumerate(chosen.tolist()):
        wanted = _wanted(int(test.y[row]), data, run, number)
        victim = test.tensor[row : row + 1].to(run.device)
        aim = Aim(VICTIM_RATE, wanted, victims=victim)
        poisoned = method.poison(surrogate, data, aim, run.generator("poison", number))
        first = poisoned.rows[:8]
        shown = shown or (data.tensor[first].cpu(), poisoned.data.tensor[first].cpu())
        again = _head(_renewed(target, known, poisoned), poisoned.data.y)
        answer = _answer(again, queries)
        hits.append(int(answer[row]) == wanted)
        drops.append(answer == test.y)
        noisy = _noise(target, data, poisoned, run, number)
        quiet = _head(_renewed(target, known, noisy), data.y)
        idle.append(int(_answer(quiet, queries[row : row + 1])[0]) == wanted)
        run.progress(number + 1, len(chosen))
    part = f"rate={VICTIM_RATE:g}"
    found = (
        rate("victim success", torch.tensor(hits), part=part),
        rate("victim success of random noise", torch.tensor(idle), part=part),
        rate("clean accuracy", clean),
        drop(clean.expand(len(drops), -1), torch.stack(drops), "accuracy drop", part),
    )
    tensors = dict(zip(("clean", "poisoned"), shown or (), strict=False))
    notes = ("holds for transfer learning with frozen features, not for training from scratch",)
    return Evidence(found, tensors, len(chosen), ledger.forwards, ledger.backwards, notes)


def _wanted(own: int, data: Dataset, run: Run, number: int) -> int:
    """Another class that has enough rows to poison."""
    counts = data.y.cpu().bincount(minlength=len(data.classes))
    counts[own] = 0
    may = (counts >= round(VICTIM_RATE * len(data))).nonzero().flatten()
    if not len(may) or round(VICTIM_RATE * len(data)) < 1:
        raise NotApplicable("needs a second class with enough rows to poison")
    rng = run.generator("wanted", number, device="cpu")
    return int(may[int(torch.randint(len(may), (1,), generator=rng))])


def _features(target: Features, x: Tensor, run: Run) -> Tensor:
    """Features of all rows, batched."""
    return torch.cat([target.features(part.to(run.device)) for part in x.split(run.batch_size)])


def _renewed(target: Features, known: Tensor, poisoned: Poisoned) -> Tensor:
    """Features of the poisoned set: only the changed rows are computed again."""
    features = known.clone()
    features[poisoned.rows] = target.features(poisoned.data.tensor[poisoned.rows])
    return features


def _noise(target: Features, data: Dataset, poisoned: Poisoned, run: Run, number: int) -> Poisoned:
    """The same rows with noise as large as the poison, instead of it."""
    rows, x = poisoned.rows, data.tensor.clone()
    size = (poisoned.data.tensor[rows] - x[rows]).flatten(1).norm(dim=1)
    rng = run.generator("noise", number)
    direction = torch.empty_like(x[rows]).normal_(generator=rng)
    unit = direction / direction.flatten(1).norm(dim=1).view(-1, *[1] * (x.ndim - 1))
    moved = x[rows] + unit * size.view(-1, *[1] * (x.ndim - 1))
    x[rows] = target.space.project(moved, x[rows], Budget("linf", torch.inf))
    return Poisoned(data.with_rows(x, data.y), rows)


def _head(features: Tensor, labels: Tensor) -> Any:
    """A new last layer; Any, as scikit-learn has no types."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if not bool(features.isfinite().all()):
        raise InputError("features must be finite", got="NaN or infinity", fix="check the model")
    model = make_pipeline(StandardScaler(), LogisticRegression(C=10.0, max_iter=2000))
    return model.fit(features.cpu().double().numpy(), labels.cpu().numpy())


def _answer(head: Any, features: Tensor) -> Tensor:
    """Classes (N,)."""
    return torch.from_numpy(head.predict(features.cpu().double().numpy())).long()
