"""What holds for every evasion attack, for those on sound and on words."""

import copy
import pickle
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import catalogue
from holdfast.core.errors import NeedsError, NotApplicable
from holdfast.core.goal import AwayFrom, Transcript
from holdfast.core.method import REGISTRY
from holdfast.core.record import ThreatModel
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.case import Case
from holdfast.engine.curve import assess
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.audio_targeted import AudioTargeted
from holdfast.evasion.attacks.pgd import PGD
from holdfast.evasion.attacks.text_hotflip import HotFlip
from holdfast.ops.rows import Ragged, ragged
from tests.modalities.toys import bag_of_words, levels


@dataclass(frozen=True)
class Setting:
    """One method on the tiny target of its modality, with `n` rows."""

    method: Any
    target: Any
    x: Ragged
    goal: Any
    measure: str


def sound(n: int) -> Setting:
    """Ragged sound on the 16-bit grid, and strings that fit into it."""
    rng = torch.Generator().manual_seed(n)
    lengths = [3, 9, 5, 4, 7][:n]
    rows = [(torch.rand(k, generator=rng) * 40000 - 20000).round() / 32768 for k in lengths]
    x = ragged(rows) if n else Ragged(torch.zeros(0, 0), torch.zeros(0, dtype=torch.long))
    said = ragged([torch.tensor([1, 2][: 1 + k % 2]) for k in lengths]) if n else nothing()
    return Setting(AudioTargeted(steps=25), levels(), x, Transcript(said), "linf")


def nothing() -> Ragged:
    return Ragged(torch.zeros(0, 0, dtype=torch.long), torch.zeros(0, dtype=torch.long))


def words(n: int) -> Setting:
    """Ragged word ids for a bag of words."""
    rng = torch.Generator().manual_seed(n)
    rows = [torch.randint(1, 12, (k,), generator=rng) for k in [3, 9, 5, 1, 7][:n]]
    target, x = bag_of_words(3), ragged(rows) if n else nothing()
    goal = AwayFrom(target.answer(x) if n else torch.zeros(0, dtype=torch.long))
    return Setting(HotFlip(tries=2), target, x, goal, "words")


EACH = pytest.mark.parametrize("make", [sound, words])


@EACH
@settings(max_examples=12, deadline=None)
@given(n=st.integers(0, 5), eps=st.floats(0.001, 0.7), batch=st.sampled_from([2, 256]))
def test_stays_in_ball_and_space_and_repeats_itself(make, n, eps, batch) -> None:
    s, run = make(n), Run(queries=300, batch_size=batch)
    before = copy.deepcopy(s.x)
    budget = Budget(s.measure, eps)
    first, again = (attack(s.method, s.target, s.x, s.goal, budget, run) for _ in range(2))
    assert len(first.x) == n
    assert (first.distance <= eps * (1 + 1e-4) + 1e-6).all()
    assert s.target.space.contains(first.x).all()
    assert torch.equal(first.x.length, s.x.length)
    assert torch.equal(first.x.data, again.x.data)
    assert torch.equal(s.x.data, before.data)
    if n:
        degree = s.goal.degree(s.target.answer(first.x))
        assert torch.equal(first.success, degree >= s.goal.threshold)
        assert torch.equal(first.degree, degree)


@EACH
def test_a_row_fares_alike_alone_and_in_a_batch(make) -> None:
    s = make(5)
    budget = Budget(s.measure, 0.4)
    whole = attack(s.method, s.target, s.x, s.goal, budget, Run())
    assert int(whole.success.sum()) > 0
    for i in range(5):
        one = torch.tensor([i])
        alone = ragged([s.x.row(i)])  # without the batch's padding
        got = attack(s.method, s.target, alone, s.goal.take(one), budget, Run())
        assert torch.equal(got.x.row(0), whole.x.row(i))
        assert got.success.tolist() == whole.success[i : i + 1].tolist()


@EACH
def test_every_row_has_its_own_budget(make) -> None:
    s = make(5)
    eps = torch.tensor([0.0, 0.4, 0.0, 0.7, 0.4])
    got = attack(s.method, s.target, s.x, s.goal, Budget(s.measure, eps), Run())
    assert (got.distance <= eps * (1 + 1e-4)).all()
    assert torch.equal(got.x.row(0), s.x.row(0))
    for i in range(5):
        one = torch.tensor([i])
        budget = Budget(s.measure, float(eps[i]))
        alone = attack(s.method, s.target, s.x.take(one), s.goal.take(one), budget, Run())
        assert torch.equal(alone.x.row(0), got.x.row(i))


@EACH
@pytest.mark.parametrize("limit", [0, 1, 7])
def test_never_spends_more_than_its_allowance(make, limit) -> None:
    s = make(4)
    got = attack(s.method, s.target, s.x, s.goal, Budget(s.measure, 1e-6), Run(queries=limit))
    assert got.forwards + got.backwards <= 4 * limit


@EACH
def test_leaves_a_module_as_it_was(make) -> None:
    s = make(4)
    module = s.target.module.train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    state = torch.random.get_rng_state()
    attack(s.method, s.target, s.x, s.goal, Budget(s.measure, 0.5), Run())
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert all(m.training for m in module.modules())
    assert all(p.grad is None and p.requires_grad for p in module.parameters())
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in module.modules())
    assert torch.equal(torch.random.get_rng_state(), state)


@EACH
def test_pickles_and_tells_what_it_works_on(make) -> None:
    catalogue.load_all()
    method = make(1).method
    assert pickle.loads(pickle.dumps(method)) == method
    entry = next(e for e in REGISTRY.values() if e.cls is type(method))
    assert entry.items == "Ragged"
    assert catalogue.listing(entry.id).needs == entry.needs


def test_a_method_is_not_run_on_inputs_of_another_kind(digits, digit_target) -> None:
    threat = ThreatModel("Gradients", measure="linf", eps=(0.1,))
    with pytest.raises(NotApplicable, match="varying length"):
        assess(AudioTargeted(), Case(digit_target, digits[1], threat), Run())
    s = sound(3)
    with pytest.raises(NeedsError, match="gradients over words"):
        attack(HotFlip(), s.target, s.x, s.goal, Budget("words", 0.5), Run())
    text = words(3)
    with pytest.raises(NeedsError, match="gradients"):
        attack(PGD(), text.target, text.x, text.goal, Budget("linf", 0.5), Run())
