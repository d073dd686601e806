"""Properties that hold for every evasion attack on classifiers in the catalogue."""

import pickle
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from holdfast import catalogue
from holdfast.core.errors import NotApplicable
from holdfast.core.goal import AwayFrom
from holdfast.core.method import REGISTRY
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.evasion import attack
from holdfast.targets.torch import TorchClassifier
from tests.toys import LinearTarget

catalogue.load_all()
PLAIN = ("Answers", "Scores", "Gradients", "Features")
ATTACKS = [
    e
    for e in REGISTRY.values()
    if e.kind == "EvasionAttack" and e.needs in PLAIN and e.items == "Tensor"
]
EACH = pytest.mark.parametrize("entry", ATTACKS, ids=lambda e: e.id)


def quick(entry):
    """The method with few steps, so that hundreds of examples stay fast."""
    small = {"steps": 4, "iterations": 2, "queries": 10, "targets": 2, "lessons": 5}
    return entry.cls(**{k: v for k, v in small.items() if k in entry.cls().params})


@cache
def shape(id_: str) -> tuple[int, ...]:
    """What inputs of six features look like: a vector, or an image for attacks on nothing else."""
    method, target, x = quick(REGISTRY[id_]), LinearTarget.random(6, 3), torch.full((1, 6), 0.5)
    budget = Budget(REGISTRY[id_].cls.measures[0], 0.1)
    try:
        attack(method, target, x, AwayFrom(target.answer(x)), budget, Run(queries=20))
    except NotApplicable:
        return (1, 2, 3)
    return (6,)


@EACH
@settings(max_examples=8, deadline=None)
@given(
    n=st.integers(0, 5), eps=st.floats(0.001, 0.5), measure=st.sampled_from(["linf", "l2", "l1"])
)
def test_stays_in_ball_and_box_and_repeats_itself(entry, n, eps, measure) -> None:
    if measure not in entry.cls.measures:
        return
    target = LinearTarget.random(6, 3)
    x = torch.rand(n, *shape(entry.id), generator=torch.Generator().manual_seed(n))
    before = x.clone()
    goal, budget, run = AwayFrom(target.answer(x)), Budget(measure, eps), Run(queries=400)
    first, again = (attack(quick(entry), target, x, goal, budget, run) for _ in range(2))
    assert (first.distance <= eps * (1 + 1e-4) + 1e-6).all()
    assert target.space.contains(first.x).all()
    assert torch.equal(first.x, again.x)
    assert torch.equal(x, before)
    assert torch.equal(first.success, target.answer(first.x) != goal.labels)


@EACH
@pytest.mark.parametrize("limit", [0, 1, 7])
def test_never_spends_more_than_its_allowance(entry, limit) -> None:
    target = LinearTarget.random(6, 3)
    x = torch.rand(4, *shape(entry.id), generator=torch.Generator().manual_seed(0))
    measure = entry.cls.measures[0]
    run = Run(queries=limit)
    got = attack(quick(entry), target, x, AwayFrom(target.answer(x)), Budget(measure, 1e-6), run)
    assert got.forwards + got.backwards <= 4 * limit


@EACH
@pytest.mark.parametrize("outputs", [1, 2])
def test_leaves_a_module_as_it_was(entry, outputs) -> None:
    module = nn.Sequential(
        nn.Flatten(), nn.Linear(6, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, outputs)
    )
    module.train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    state = torch.random.get_rng_state()
    target = TorchClassifier(module)
    x = torch.rand(3, *shape(entry.id), generator=torch.Generator().manual_seed(0))
    budget = Budget(entry.cls.measures[0], 0.1)
    attack(quick(entry), target, x, AwayFrom(target.answer(x)), budget, Run(queries=100))
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert module.training
    assert all(p.grad is None and p.requires_grad for p in module.parameters())
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in module.modules())
    assert torch.equal(torch.random.get_rng_state(), state)


@EACH
def test_pickles(entry) -> None:
    assert pickle.loads(pickle.dumps(entry.cls())) == entry.cls()
