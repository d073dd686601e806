"""Judge a detector: threshold, false alarms and recall on three separate parts of clean data."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from holdfast.core.errors import NotApplicable
from holdfast.core.goal import AwayFrom
from holdfast.core.kinds import Detector, FittedDetector
from holdfast.core.record import Measurement
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.core.target import Gradient, Gradients
from holdfast.engine.case import Case, Evidence, rate
from holdfast.engine.evasion import answers, attack
from holdfast.engine.ledger import Ledger, view
from holdfast.engine.lookup import registered
from holdfast.ops.stats import auc, auc_interval
from holdfast.targets.wrappers import Averaged, Change, Defended

ALARMS = 0.05
"""Share of clean inputs that may be flagged."""
CAUGHT = -1
"""What a watched target answers to an input that is flagged."""


@runtime_checkable
class Squeezing(Protocol):
    """A detector that compares answers through changes of the input, and says which."""

    @property
    def squeezers(self) -> tuple[Change, ...]: ...


@dataclass(frozen=True, eq=False)
class Watched:
    """A target behind a detector: what is flagged gets the answer `CAUGHT`.

    Scores carry one column more, the suspicion above the limit, so that an attack sees at every
    step whether it would be caught; losses never see that column.
    """

    target: Gradients
    detector: FittedDetector
    limit: float

    @property
    def space(self) -> Any:
        """Valid inputs are those of the target."""
        return self.target.space

    def scores(self, x: Tensor) -> Tensor:
        """(N, K + 1)."""
        return self._watch(x, self.target.scores(x))

    def decode(self, raw: Tensor) -> Tensor:
        """The target's answer, or `CAUGHT`."""
        return self.target.decode(raw[:, :-1]).masked_fill(raw[:, -1] > 0, CAUGHT)

    def answer(self, x: Tensor) -> Tensor:
        """The target's answer, or `CAUGHT`."""
        return self.decode(self.scores(x))

    def gradient(self, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Gradient:
        """The target's gradient."""
        got = self.target.gradient(x, loss)
        return Gradient(got.wrt_input, self._watch(x, got.raw))

    def _watch(self, x: Tensor, raw: Tensor) -> Tensor:
        above = (self.detector(x) - self.limit).to(raw)
        return torch.cat([raw, above.unsqueeze(1)], 1)


@dataclass(frozen=True, eq=False)
class Unnoticed(AwayFrom):
    """Make a watched classifier leave `labels` without being caught."""

    def degree(self, out: Tensor) -> Tensor:
        """One where the answer is another class and no alarm."""
        return ((out != self.labels) & (out != CAUGHT)).float()


def threshold(scores: Tensor, alarms: float = ALARMS) -> float:
    """Least score above which at most a share `alarms` of `scores` lies."""
    ordered = scores.sort(descending=True).values
    return float(ordered[int(alarms * len(scores) + 1e-9)])


def suspicion(detector: FittedDetector, x: Tensor, run: Run) -> Tensor:
    """(N,) scores of the detector, batched, on the CPU."""
    parts = [detector(part.to(run.device)).cpu() for part in x.split(run.batch_size)]
    return torch.cat(parts) if parts else torch.zeros(0)


def assess(method: Detector[Any], case: Case, run: Run) -> Evidence:
    """False alarms and recall against attackers who do not and who do know of the detector.

    Clean rows are split: a quarter fits the detector, a quarter sets its threshold, and on the
    rest false alarms are counted and attacks are made, at the largest budget of the threat model.
    The aware attacker climbs the mean loss of the model and of its squeezed copies (BPDA) and
    goes on until the input is misread and not flagged; where that fails, the plain attack is sent.
    """
    if not isinstance(case.target, Gradients):
        raise NotApplicable("is judged by an attack that needs gradients, which the target hides")
    pgd = registered("evasion/pgd")()
    measure, budgets = case.budgets(pgd.measures)
    case.rows()
    target, ledger = cast(Any, case.target), Ledger()
    order = torch.randperm(len(case.test), generator=torch.Generator().manual_seed(run.seed))
    cuts = (len(order) // 4, len(order) // 2)
    own, setting, rest = (case.test.take(part) for part in order.tensor_split(cuts))
    if len(setting) < 1 / ALARMS:
        raise NotApplicable(f"needs at least {4 / ALARMS:g} clean rows to set a threshold")
    known = own.with_rows(own.tensor.to(run.device), own.y.to(run.device))
    detector = method.fit(view(method, target, ledger), known, run.generator("fit"))
    limit = threshold(suspicion(detector, setting.tensor, run))
    clean = suspicion(detector, rest.tensor, run)

    right = (answers(target, rest.tensor, run) == rest.y).nonzero().flatten()
    x, y = rest.tensor[right], rest.y[right]
    budget = Budget(measure, budgets[-1])
    plain = attack(pgd, target, x, AwayFrom(y), budget, run)
    squeezers = detector.squeezers if isinstance(detector, Squeezing) else ()
    together = Averaged((target, *(Defended(target, each, run) for each in squeezers)))
    aware, forwards, backwards = plain.x, plain.forwards, plain.backwards
    for wish in (limit, float(clean.median())):  # then even less suspicious, where that can be had
        watched = Watched(together, detector, wish)
        got = attack(pgd, watched, x, Unnoticed(y), budget, run)
        aware = torch.where(got.success.view(-1, *[1] * (x.ndim - 1)), got.x, aware)
        forwards, backwards = forwards + got.forwards, backwards + got.backwards

    noise = target.space.random(x.to(run.device), budget, run.generator("control"))
    measurements = [
        rate("clean accuracy", len(right), len(rest)),
        rate("false positives", clean > limit),
        rate("recall on random noise", suspicion(detector, noise, run) > limit),
    ]
    for name, sent in (("unaware", plain.x), ("aware", aware)):
        fooled = answers(target, sent, run) != y
        scores, part = suspicion(detector, sent[fooled], run), f"attack={name}"
        measurements += [
            rate("attack success", fooled, part=part),
            rate("unnoticed success", int((scores <= limit).sum()), len(x), part=part),
            rate("recall at 5% false positives", scores > limit, part=part),
            _area(scores, clean, part),
        ]
    shown = (answers(target, aware, run) != y).nonzero().flatten()[:8]
    tensors = {
        "clean": x[shown], "adversarial": aware[shown], "labels": y[shown],
        "answers": answers(target, aware[shown], run),
    }  # fmt: skip
    spent = (forwards + ledger.forwards, backwards)
    note = f"attacked at {measure} budget {budget.eps:g}, the largest of those asked for"
    return Evidence(tuple(measurements), tensors, len(x), *spent, (note,))


def _area(attacked: Tensor, clean: Tensor, part: str) -> Measurement:
    """Area under the curve with DeLong's interval; NaN when no attack fooled the model."""
    if not len(attacked):
        return Measurement("area under the curve", float("nan"), 0, part=part)
    positives, negatives = attacked.double().numpy(), clean.double().numpy()
    low, high = auc_interval(positives, negatives)
    return Measurement(
        "area under the curve", auc(positives, negatives), len(positives), low, high, part
    )
