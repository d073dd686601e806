"""Run a membership attack on as many members as non-members, with thresholds and null controls."""

import math
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable, QueriesSpent
from holdfast.core.kinds import MembershipAttack
from holdfast.core.record import Measurement
from holdfast.core.run import Run
from holdfast.core.target import Scores
from holdfast.engine.case import Case, Evidence, rate
from holdfast.engine.evasion import answers
from holdfast.engine.ledger import Ledger, view
from holdfast.engine.measure import InBatches
from holdfast.ops import stats
from holdfast.ops.stats import Floats

MOST = 300
"""Members, and as many non-members, that are scored."""
LEAST = 20
"""Fewer rows on either side tell nothing."""


class Split(NamedTuple):
    """Rows that are scored, members first, and rows that are left to the attacker.

    Attributes:
        scored: `members` rows that the model was trained on, then as many that it was not.
        members: how many.
        background: held-out rows that are not scored, for shadow models; None when there are none.
    """

    scored: Dataset
    members: int
    background: Dataset | None


def split(case: Case, run: Run, most: int = MOST) -> Split:
    """Draw members from the training rows and non-members from half of the held-out rows."""
    train, test = case.members(), case.test
    case.rows()
    count = min(most, len(train), len(test) // 2)
    if count < LEAST:
        raise NotApplicable(f"needs {LEAST} training rows and {2 * LEAST} held-out rows")
    rng = run.generator("membership", device="cpu")
    inside = train.take(torch.randperm(len(train), generator=rng)[:count])
    order = torch.randperm(len(test), generator=rng)
    outside, rest = test.take(order[:count]), test.take(order[count : count + 2 * most])
    scored = Dataset(
        test.name,
        torch.cat([inside.tensor, outside.tensor]),
        torch.cat([inside.y, outside.y]),
        test.classes,
        test.space,
    )
    return Split(scored, count, rest if len(rest) else None)


def gap_accuracy(members_right: Tensor, others_right: Tensor) -> float:
    """Balanced accuracy of "a member exactly if the answer is right", (1 + gap) / 2.

    Yeom et al. 2018, adversary 1: what the difference between the two accuracies gives away alone.
    """
    caught = members_right.double().mean()
    spared = 1 - others_right.double().mean()
    return float((caught + spared) / 2)


def best_threshold(members: Floats, others: Floats) -> float:
    """The score from which on calling a row a member gains most (largest TPR - FPR)."""
    candidates = np.unique(np.concatenate([members, others]))
    true = 1 - np.searchsorted(np.sort(members), candidates, "left") / len(members)
    false = 1 - np.searchsorted(np.sort(others), candidates, "left") / len(others)
    return float(candidates[(true - false).argmax()])


class Difference(NamedTuple):
    """Difference of two independent rates with its 95 % interval."""

    value: float
    low: float
    high: float


def difference(hits: int, m: int, alarms: int, n: int) -> Difference:
    """Rate hits / m less alarms / n, both exact intervals joined by Newcombe's rule (1998, no. 10)."""
    true, false = hits / m, alarms / n
    hit, alarm = stats.clopper_pearson(hits, m), stats.clopper_pearson(alarms, n)
    low = math.hypot(true - hit.low, alarm.high - false)
    high = math.hypot(hit.high - true, false - alarm.low)
    return Difference(true - false, true - false - low, true - false + high)


def advantage(members: Floats, others: Floats) -> Measurement:
    """TPR - FPR at thresholds fixed on rows that are not judged by them.

    Either half of the rows is judged at the best threshold of the other half. Rows must be in
    random order, as `split` draws them: then alternate ones are random halves.
    """
    hits = alarms = 0
    for first in (0, 1):
        known, judged = slice(first, None, 2), slice(1 - first, None, 2)
        threshold = best_threshold(members[known], others[known])
        hits += int((members[judged] >= threshold).sum())
        alarms += int((others[judged] >= threshold).sum())
    found = difference(hits, len(members), alarms, len(others))
    return Measurement("advantage", found.value, len(members) + len(others), found.low, found.high)


def measurements(members: Floats, others: Floats) -> tuple[Measurement, ...]:
    """AUC, power at low false-positive rates, advantage, and a control on non-members alone.

    The null area under the curve compares two halves of the non-members: where its interval misses
    one half, the scores tell rows apart by something other than membership. It also does so by
    chance, once in twenty. The intervals of the powers hold for the threshold that was found, which
    is itself one of few non-members' scores. With n non-members the smallest false-positive rate is
    1 / n, so that 0.1 % needs 1000 of them.
    """
    found = [auc("area under the curve", members, others)]
    for level in (0.01, 0.001):
        if len(others) * level >= 1:
            hits = round(stats.tpr_at(members, others, level) * len(members))
            found.append(rate(f"TPR at {100 * level:g}% FPR", hits, len(members)))
    found += [
        advantage(members, others),
        auc("null area under the curve", others[::2], others[1::2]),
    ]
    return tuple(found)


def auc(name: str, positives: Floats, negatives: Floats) -> Measurement:
    """Area under the curve with DeLong's interval."""
    low, high = stats.auc_interval(positives, negatives)
    n = len(positives) + len(negatives)
    return Measurement(name, stats.auc(positives, negatives), n, low, high)


def score(method: MembershipAttack[Scores], case: Case, run: Run) -> tuple[Split, Floats, Ledger]:
    """Scores of the rows of `split`, and what they cost."""
    drawn = split(case, run)
    ledger = Ledger(run.queries, active=len(drawn.scored))
    seen = InBatches(view(method, case.target, ledger), run)
    background, rng = case.background(drawn.background), run.generator("score", device="cpu")
    try:
        found = method.score(cast(Scores, seen), drawn.scored, background, rng)
    except QueriesSpent as spent:
        raise NotApplicable(f"the allowance is too small to score a row: {spent}") from spent
    if not bool(found.isfinite().all()):
        raise NotApplicable("the model's scores are not finite numbers, so rows cannot be ranked")
    return drawn, cast(Floats, found.detach().cpu().double().numpy()), ledger


def assess(method: MembershipAttack[Scores], case: Case, run: Run) -> Evidence:
    """How well the attack tells the model's training rows from held-out ones."""
    run.progress(0, 1)
    drawn, scores, ledger = score(method, case, run)
    n = drawn.members
    members, others = scores[:n], scores[n:]
    right = answers(cast(Scores, case.target), drawn.scored.x, run) == drawn.scored.y
    found = [
        *measurements(members, others),
        rate("accuracy on members", right[:n]),
        rate("accuracy on non-members", right[n:]),
        _gap(right[:n], right[n:]),
    ]
    false, true = stats.roc(members, others)
    tensors = {"fpr": torch.tensor(false).float(), "tpr": torch.tensor(true).float()}
    run.progress(1, 1)
    notes = _notes(found, scores, _saturated(case, drawn.scored, run))
    if "shadows" in method.params:
        notes += _shadow_notes(drawn, len(case.members()))
    return Evidence(tuple(found), tensors, 2 * n, ledger.forwards, ledger.backwards, notes)


def _gap(members_right: Tensor, others_right: Tensor) -> Measurement:
    m, n = len(members_right), len(others_right)
    by = difference(int(members_right.sum()), m, int(others_right.sum()), n)
    value = gap_accuracy(members_right, others_right)
    return Measurement("gap attack accuracy", value, m + n, (1 + by.low) / 2, (1 + by.high) / 2)


def _saturated(case: Case, data: Dataset, run: Run) -> float:
    """Share of rows whose largest probability rounds to one in single precision."""
    target = case.target
    if not isinstance(target, Scores):
        return 0.0
    top = InBatches(target, run).scores(data.tensor).float().softmax(1).amax(1)
    return float((top == 1).float().mean())


def _notes(found: list[Measurement], scores: Floats, saturated: float) -> tuple[str, ...]:
    notes = []
    null = next(m for m in found if m.name == "null area under the curve")
    if null.low is not None and null.high is not None and not null.low <= 0.5 <= null.high:
        notes.append(
            "the null control failed: scores tell two halves of the non-members apart, which "
            "happens by chance once in twenty runs"
        )
    if not any(m.name == "TPR at 0.1% FPR" for m in found):
        notes.append("fewer than 1000 non-members: the TPR at 0.1% FPR cannot be measured")
    if saturated > 0.01:
        notes.append(
            f"{saturated:.0%} of the rows are answered with a probability that rounds to one; "
            "they are ranked by their scores in double precision"
        )
    if len(np.unique(scores)) < len(scores) / 2:
        notes.append("more than half of the scores are tied: the curve has few steps")
    return tuple(notes)


def _shadow_notes(drawn: Split, trained_on: int) -> tuple[str, ...]:
    """What a score that rests on shadow models leaves open."""
    pool = len(drawn.scored) + (len(drawn.background) if drawn.background else 0)
    notes = [
        "the intervals are over rows alone; another draw of few shadow models can move the area by "
        "as much again, so an interval that just misses one half proves nothing"
    ]
    if pool // 2 < 0.8 * trained_on:
        notes.append(
            f"shadow models are trained on at most {pool // 2} rows, the target on {trained_on}: "
            "an attacker with more rows would do better"
        )
    return tuple(notes)
