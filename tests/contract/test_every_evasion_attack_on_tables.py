"""Whatever an evasion attack proposes on a table, what comes out are valid rows within the budget."""

import pytest
import torch

from holdfast import catalogue
from holdfast.core.constraints import Table
from holdfast.core.errors import NotApplicable
from holdfast.core.goal import AwayFrom
from holdfast.core.method import REGISTRY
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.engine.evasion import attack
from holdfast.targets.constrained import constrained
from tests.toys import LinearTarget

catalogue.load_all()
PLAIN = ("Answers", "Scores", "Gradients")
ATTACKS = [
    e
    for e in REGISTRY.values()
    if e.kind == "EvasionAttack" and e.needs in PLAIN and e.items == "Tensor"
]
NAMES = ("a=1", "a=2", "a=3", "n", "m", "k")
HIGH = torch.tensor([1.0, 1, 1, 5, 1, 1])
SPACE = Table.of(
    NAMES, Box(torch.zeros(6), HIGH, HIGH), integers=["n"], immutable=["k"], fall=["m"]
)


@pytest.mark.parametrize("entry", ATTACKS, ids=lambda e: e.id)
@pytest.mark.parametrize("form", [False, True], ids=["bare", "behind a form"])
def test_rows_are_valid_and_within_the_budget(entry, form: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    weight = 4 * torch.randn(6, 2, generator=rng) / HIGH[:, None]
    x = SPACE.snap(HIGH * torch.rand(6, 6, generator=rng))
    model = LinearTarget(weight, torch.zeros(2), SPACE)
    target = constrained(model, SPACE) if form else model
    goal, measure = AwayFrom(model.answer(x)), entry.cls.measures[0]
    small = {"steps": 4, "iterations": 2}
    method = entry.cls(**{k: v for k, v in small.items() if k in entry.cls().params})
    eps = 2.0 if measure == "l0" else 0.8
    try:
        got = attack(method, target, x, goal, Budget(measure, eps), Run(queries=200))
    except NotApplicable:  # such as attacks on images; they say so themselves
        return
    assert not torch.stack(list(SPACE.violations(got.x, x).values())).any()
    assert (got.distance <= eps * (1 + 1e-4) + 1e-6).all()
    assert torch.equal(got.success, model.answer(got.x) != goal.labels)
