"""Stages, pooling, several losses per pass, masks and memory of interrupted attacks."""

from dataclasses import dataclass, field, replace

import pytest
import torch

from holdfast.core.errors import QueriesSpent
from holdfast.core.goal import AwayFrom, ToClass
from holdfast.core.kinds import EvasionAttack, Search
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.core.target import Gradients
from holdfast.engine.evasion import attack
from holdfast.engine.ledger import Ledger, view
from holdfast.evasion.attacks.pgd import PGD
from holdfast.evasion.stages import follow
from holdfast.runtime.memo import Folder
from tests.oracles import two_class
from tests.toys import LinearTarget


@dataclass(frozen=True)
class TwoStages(EvasionAttack[Gradients]):
    """One step of half the needed size, then PGD on whoever stands."""

    first: float = 0.02
    measures = ("linf",)

    def run(self, target, x, goal, budget, rng) -> Search:
        rows = torch.arange(len(x))
        for name, part in (("weak", PGD(steps=1)), ("strong", PGD(steps=50))):
            room = replace(budget, eps=self.first if name == "weak" else budget.eps)
            search = part.run(target, x[rows], goal.take(rows), room.take(rows), rng)
            rows = yield from follow(search, rows, name)


@dataclass(frozen=True)
class Pooled(EvasionAttack[Gradients]):
    """Goes for the rows in parts of two, from the last to the first."""

    measures = ("linf",)
    pools = True

    def run(self, target, x, goal, budget, rng) -> Search:
        for part in torch.arange(len(x)).flip(0).split(2):
            search = PGD(steps=30).run(target, x[part], goal.take(part), budget.take(part), rng)
            yield from follow(search, part, "pgd", pooled=True)


def test_each_stage_is_told_what_it_broke_and_what_it_cost() -> None:
    target, x = two_class()
    far = target.distance(x, "linf")
    goal, budget = AwayFrom(target.answer(x)), Budget("linf", 1.1 * far.max())
    got = attack(TwoStages(first=float(far.median())), target, x, goal, budget, Run())
    assert got.success.all()
    easy = far < far.median()
    assert all(got.stage[i] == "weak" for i in easy.nonzero().flatten().tolist())
    hard = far > 1.05 * far.median()
    assert all(got.stage[i] == "strong" for i in hard.nonzero().flatten().tolist())
    assert sum(cost.forwards for cost in got.spent.values()) == got.forwards
    assert sum(cost.backwards for cost in got.spent.values()) == got.backwards
    assert 0 < got.spent["weak"].backwards <= len(x)
    assert got.spent["weak"].rows == len(x)
    assert got.spent["strong"].rows == sum(s != "weak" for s in got.stage)


def test_pooled_attacks_get_all_rows_at_once_and_rows_find_their_place() -> None:
    target, x = two_class(n=7)
    far = target.distance(x, "linf")
    goal, budget = AwayFrom(target.answer(x)), Budget("linf", far * 1.05)
    got = attack(Pooled(), target, x, goal, budget, Run(batch_size=3))
    assert got.success.all()
    assert (got.distance <= far * 1.0501).all()
    below = attack(Pooled(), target, x, goal, Budget("linf", far * 0.95), Run(batch_size=3))
    assert not below.success.any()
    assert target.space.contains(below.x).all()


def test_a_killed_attack_goes_on_where_it_was(tmp_path) -> None:
    target, x = two_class(n=9)
    goal, budget = AwayFrom(target.answer(x)), Budget("linf", 0.02)
    whole = attack(PGD(), target, x, goal, budget, Run(batch_size=3))

    class Killed(Exception):
        pass

    def after_two(done: int, total: int) -> None:
        if done >= 6:
            raise Killed

    memo = Folder(tmp_path / "partial")
    with pytest.raises(Killed):
        attack(PGD(), target, x, goal, budget, Run(batch_size=3, memo=memo, progress=after_two))
    counted = _Counting(target)
    again = attack(PGD(), counted, x, goal, budget, Run(batch_size=3, memo=memo))
    assert torch.equal(again.x, whole.x)
    assert (again.forwards, again.backwards) == (whole.forwards, whole.backwards)
    assert counted.gradients <= 3 * PGD().steps, "finished batches were attacked again"
    other = attack(PGD(steps=3), counted, x, goal, budget, Run(batch_size=3, memo=memo))
    assert other.backwards <= 9 * 3, "another setting must not take these results"
    memo.clear()
    assert not (tmp_path / "partial").exists()


def test_a_memo_that_was_cut_short_is_not_believed(tmp_path) -> None:
    memo = Folder(tmp_path)
    memo.put("a", {"x": torch.ones(3)})
    (tmp_path / "a.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:20])
    assert memo.get("a") is None
    assert memo.get("b") is None


def test_several_losses_are_one_forward_and_as_many_backward_passes() -> None:
    target = LinearTarget.random(6, 4)
    x, ledger = torch.rand(5, 6, generator=torch.Generator().manual_seed(0)), Ledger()
    seen = view(PGD(), target, ledger).gradient(x, lambda raw: raw[:, 1:] - raw[:, :1])
    assert seen.wrt_input.shape == (5, 3, 6)
    assert torch.allclose(seen.wrt_input[2], (target.weight[:, 1:] - target.weight[:, :1]).T)
    assert (ledger.forwards, ledger.backwards) == (5, 15)


def test_losses_that_cannot_be_paid_are_refused() -> None:
    target, ledger = LinearTarget.random(6, 4), Ledger(limit=3)
    with pytest.raises(QueriesSpent):
        view(PGD(), target, ledger).gradient(
            torch.rand(1, 6, generator=torch.Generator()), lambda raw: raw
        )
    assert ledger.forwards + ledger.backwards <= 3


def test_frozen_features_have_no_gradient_and_do_not_move() -> None:
    editable = torch.tensor([True, False, True, False, True, False])
    target = replace(LinearTarget.random(6, 3), space=Box(editable=editable))
    x = torch.rand(4, 6, generator=torch.Generator().manual_seed(0))
    seen = view(PGD(), target, Ledger()).gradient(x, lambda raw: raw[:, 0])
    assert (seen.wrt_input[:, ~editable] == 0).all()
    assert (seen.wrt_input[:, editable] != 0).all()
    for measure in ("linf", "l2", "l1"):
        goal, budget = AwayFrom(target.answer(x)), Budget(measure, 0.5)
        got = attack(PGD(steps=5), target, x, goal, budget, Run())
        assert torch.equal(got.x[:, ~editable], x[:, ~editable])
        noise = target.space.random(x, budget, torch.Generator().manual_seed(1))
        assert torch.equal(noise[:, ~editable], x[:, ~editable])
        assert not torch.equal(noise, x)


def test_what_an_attack_proposes_beyond_a_mask_is_put_back() -> None:
    editable = torch.tensor([True, False])
    space = Box(editable=editable)
    x = torch.full((1, 2), 0.5)
    moved = space.project(torch.tensor([[2.0, 2.0]]), x, Budget("linf", 0.2))
    assert torch.allclose(moved, torch.tensor([[0.7, 0.5]]))
    assert torch.equal(space.project(torch.tensor([[2.0, 2.0]]), x, Budget("any", 0.0)),
                       torch.tensor([[1.0, 0.5]]))  # fmt: skip


def test_change_that_is_not_counted_has_no_size() -> None:
    a, b = torch.zeros(2, 3), torch.ones(2, 3)
    assert Box().distance(a, b, "any").tolist() == [0, 0]


def test_towards_ones_own_class_nothing_is_spent() -> None:
    target, x = two_class()
    own = target.answer(x)
    got = attack(PGD(random_start=False), target, x, ToClass(own), Budget("linf", 0.01), Run())
    assert got.success.all()
    assert torch.equal(got.x, x)


@dataclass
class _Counting:
    """Counts gradient rows outside of the ledger."""

    inner: LinearTarget
    gradients: int = 0
    space: Box = field(default_factory=Box)

    def scores(self, x):
        return self.inner.scores(x)

    def decode(self, raw):
        return raw.argmax(1)

    def answer(self, x):
        return self.inner.answer(x)

    def gradient(self, x, loss):
        self.gradients += len(x)
        return self.inner.gradient(x, loss)
