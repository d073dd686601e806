"""Judge a preprocessor: by the attack that does not know it, and by the one that does."""

from typing import Any, cast

import torch

from holdfast.core.errors import NotApplicable
from holdfast.core.goal import AwayFrom
from holdfast.core.kinds import Preprocessor
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.core.target import Gradients
from holdfast.engine.case import Case, Evidence, rate
from holdfast.engine.evasion import answers, attack
from holdfast.engine.lookup import registered
from holdfast.targets.wrappers import Defended


def assess(method: Preprocessor, case: Case, run: Run) -> Evidence:
    """Accuracy and robustness of the model behind the preprocessor.

    What counts is "robust accuracy", against an attacker who knows of the preprocessor: gradients
    pass it as if it were the identity (BPDA), and whatever already works without that knowledge is
    tried as well. "robust accuracy (non-adaptive)" faces only inputs that were made on the bare
    model. A large gap between the two means that the preprocessor hides, and does not protect.
    """
    if not isinstance(case.target, Gradients):
        raise NotApplicable("is judged by an attack that needs gradients, which the target hides")
    pgd = registered("evasion/pgd")()
    measure, budgets = case.budgets(pgd.measures)
    target, x, y = cast(Any, case.target), case.rows(), case.test.y
    defended = Defended(target, method, run)
    bare_right, right = answers(target, x, run) == y, answers(defended, x, run) == y
    measurements = [
        rate("clean accuracy", right),
        rate("clean accuracy (undefended)", bare_right),
    ]
    bare, unaware, aware = bare_right.clone(), right.clone(), right.clone()
    best, forwards, backwards = x.clone(), 0, 0
    for eps in budgets:
        budget, rows = Budget(measure, eps), bare_right.nonzero().flatten()
        got = attack(pgd, target, x[rows], AwayFrom(y[rows]), budget, run)
        bare[rows[got.success]] = False
        moved = x.index_copy(0, rows, got.x)
        missed = answers(defended, moved, run) != y
        fell, unaware = aware & missed, unaware & ~missed
        aware, best = aware & ~missed, torch.where(_like(fell, x), moved, best)
        left = aware.nonzero().flatten()
        known = attack(pgd, defended, x[left], AwayFrom(y[left]), budget, run)
        won = left[known.success]
        aware[won], best[won] = False, known.x[known.success]
        forwards += got.forwards + known.forwards
        backwards += got.backwards + known.backwards
        part = f"eps={eps:g}"
        measurements += [
            rate("robust accuracy", aware, part=part),
            rate("robust accuracy (non-adaptive)", unaware, part=part),
            rate("robust accuracy (undefended)", bare, part=part),
        ]
    shown = (right & ~aware).nonzero().flatten()[:8]
    tensors = {
        "clean": x[shown], "adversarial": best[shown], "labels": y[shown],
        "answers": answers(defended, best[shown], run),
    }  # fmt: skip
    return Evidence(tuple(measurements), tensors, len(x), forwards, backwards)


def _like(rows: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return rows.view(-1, *[1] * (x.ndim - 1))
