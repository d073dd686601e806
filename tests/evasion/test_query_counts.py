"""The ledger of every black-box attack against a count made outside of it."""

import pytest
import torch
from torch import nn

from holdfast import catalogue
from holdfast.core.errors import NotApplicable
from holdfast.core.goal import AwayFrom
from holdfast.core.method import REGISTRY
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.evasion import attack
from tests.black_box import Counter

catalogue.load_all()
BLACK_BOX = [
    e
    for e in REGISTRY.values()
    if e.kind == "EvasionAttack" and e.needs in ("Answers", "Scores") and e.items == "Tensor"
]


def net() -> nn.Module:
    rng = torch.Generator().manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 4))
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=rng) / p.shape[-1] ** 0.5)
    return module.eval()


@pytest.mark.parametrize("queries", [20, 90])
@pytest.mark.parametrize("entry", BLACK_BOX, ids=lambda e: e.id)
def test_the_ledger_is_exact_and_within_the_allowance(entry, queries) -> None:
    target, method = Counter(net()), entry.cls()
    x = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    goal = AwayFrom(target.answer(x))
    measure = "l2" if "l2" in method.measures else method.measures[0]
    eps = torch.inf if method.minimises else {"l0": 4.0, "l2": 0.5, "linf": 0.03}.get(measure, 1.0)
    target.rows = 0
    try:
        got = attack(method, target, x, goal, Budget(measure, eps), Run(queries=queries))
    except NotApplicable as reason:
        pytest.skip(str(reason))
    judged = len(x)  # the engine asks once more about its best, at its own cost
    assert got.forwards == target.rows - judged
    assert got.backwards == 0
    assert 0 < got.forwards <= queries * len(x)
