"""AutoAttack: its parts, their order, and its verdict where the truth is known."""

from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

from holdfast.core.goal import AwayFrom
from holdfast.core.kinds import Candidate
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.core.target import Gradient
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.auto_attack import AutoAttack
from holdfast.evasion.redraw import Expected, MeanGradient
from holdfast.targets.torch import TorchClassifier
from holdfast.targets.wrappers import Defended
from tests import oracles
from tests.toys import LinearTarget

QUICK = AutoAttack(steps=30, queries=60)


@dataclass(frozen=True)
class Flat:
    """A linear model whose gradient is zero everywhere, as behind a rounding layer."""

    inner: LinearTarget
    space: Box = field(default_factory=Box)

    def scores(self, x):
        return self.inner.scores(x)

    def decode(self, raw):
        return raw.argmax(1)

    def answer(self, x):
        return self.inner.answer(x)

    def gradient(self, x, loss):
        raw = self.scores(x)
        values = loss(raw)
        shape = (len(x), values.shape[1], *x.shape[1:]) if values.ndim == 2 else x.shape
        return Gradient(torch.zeros(shape), raw)


def names(version: str, measure: str) -> list[str]:
    return [name for name, _ in AutoAttack(version=version).parts(measure)]


def test_the_parts_are_those_of_the_authors() -> None:
    assert names("standard", "linf") == ["apgd-ce", "apgd-t", "fab-t", "square"]
    assert names("plus", "l2") == ["apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"]
    assert names("rand", "linf") == ["apgd-ce", "apgd-dlr"]
    sparse = dict(AutoAttack().parts("l1"))
    assert (sparse["apgd-ce"].restarts, sparse["apgd-t"].targets) == (5, 5)
    assert sparse["apgd-ce"].shrink
    assert not any(p.shrink for n, p in AutoAttack("plus").parts("l1") if n.startswith("apgd"))
    usual = dict(AutoAttack().parts("linf"))
    assert (usual["apgd-ce"].restarts, usual["apgd-t"].targets) == (1, 9)
    assert (usual["square"].steps, usual["square"].resc_schedule) == (5000, False)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_on_linear_models_the_verdict_is_exact(norm) -> None:
    oracles.check_fixed(QUICK, norm, *oracles.problem())
    oracles.check_targeted(QUICK, norm)


@pytest.mark.parametrize("classes", [2, 3, 1000])
def test_any_number_of_classes(classes) -> None:
    target, x = oracles.problem((24,), classes, n=6, spread=0.8)
    far = target.distance(x, "linf")
    goal = AwayFrom(target.answer(x))
    got = attack(QUICK, target, x, goal, Budget("linf", far * 1.05), Run())
    assert got.success.all()


def test_a_single_logit_is_two_classes() -> None:
    module, rng = nn.Linear(6, 1), torch.Generator().manual_seed(0)
    nn.init.normal_(module.weight, generator=rng)
    nn.init.zeros_(module.bias)
    target = TorchClassifier(module)
    x = 0.3 + 0.4 * torch.rand(5, 6, generator=rng)
    raw = target.scores(x)
    far = (raw[:, 1] - raw[:, 0]).abs() / module.weight.abs().sum()
    goal = AwayFrom(target.answer(x))
    room = far.detach() * 1.05 < 0.3  # the box does not bind so near
    assert room.sum() >= 3
    got = attack(QUICK, target, x, goal, Budget("linf", far.detach() * 1.05), Run())
    assert got.success[room].all()
    assert not attack(
        QUICK, target, x, goal, Budget("linf", far.detach() * 0.95), Run()
    ).success.any()


def test_each_row_is_credited_to_the_part_that_broke_it() -> None:
    target, x = oracles.two_class()
    goal, far = AwayFrom(target.answer(x)), target.distance(x, "linf")
    seen = attack(QUICK, target, x, goal, Budget("linf", far * 1.3), Run())
    assert set(seen.stage) == {"apgd-ce"}
    blind = attack(AutoAttack(steps=5, queries=300), Flat(target), x, goal,
                   Budget("linf", far * 1.6), Run())  # fmt: skip
    fallen = [s for s, hit in zip(blind.stage, blind.success, strict=True) if hit]
    assert len(fallen) > len(x) / 2
    assert fallen.count("square") > 0.7 * len(fallen)  # random starts find a few
    assert blind.spent["square"].backwards == 0
    assert blind.spent["fab-t"].rows <= blind.spent["apgd-ce"].rows


def test_rows_that_stand_alone_are_attacked_further() -> None:
    target, x = oracles.problem()
    far = target.distance(x, "linf")
    goal = AwayFrom(target.answer(x))
    got = attack(QUICK, target, x, goal, Budget("linf", far.median()), Run())
    standing = int((far > far.median()).sum())
    assert got.spent["square"].rows == standing
    assert got.spent["square"].forwards >= 60 * standing


def test_draws_are_averaged_in_one_batch() -> None:
    linear = LinearTarget.random(6, 3)

    class Coin:
        """Adds one of two gradients, by the row's place in the batch."""

        space = Box()

        def gradient(self, x, loss):
            found = linear.gradient(x, loss)
            sign = torch.tensor([1.0, 3.0]).repeat(len(x) // 2).view(-1, 1)
            return Gradient(sign * found.wrt_input, found.raw)

    x = torch.rand(4, 6, generator=torch.Generator().manual_seed(0))
    goal = AwayFrom(linear.answer(x))
    mean = MeanGradient(linear, Expected(Coin(), 2)).gradient(x, goal.loss)
    assert torch.allclose(mean.wrt_input, 2 * linear.gradient(x, goal.loss).wrt_input, atol=1e-6)
    assert torch.allclose(mean.raw, linear.scores(x), atol=1e-6)


def test_a_defence_that_remembers_its_draws_is_averaged_over_new_ones(monkeypatch) -> None:
    """Repeats of an input would else meet one draw, and their mean be no mean at all."""
    inner, x = oracles.problem()
    goal, seen = AwayFrom(inner.answer(x)), []

    class Doubling:
        def apply(self, x, rng):
            return torch.where(torch.rand(len(x), 1, generator=rng) < 0.5, x, 2 * x)

    class Look:
        def run(self, target, x, goal, budget, rng):
            seen.append(target.gradient(x, lambda raw: raw.square().sum(1)).wrt_input)
            yield Candidate(x, goal.degree(target.answer(x)))

    monkeypatch.setattr(AutoAttack, "parts", lambda self, measure: (("look", Look()),))
    target = Defended(inner, Doubling())
    attack(
        AutoAttack("rand", draws=400), target, x, goal, Budget("linf", 0.1), Run(batch_size=len(x))
    )
    one, two = (inner.gradient(s * x, lambda raw: raw.square().sum(1)).wrt_input for s in (1, 2))
    # heads are within 4 standard errors of one half
    slack = 4 * 0.5 / 400**0.5 * (one - two).abs()
    assert ((seen[0] - (one + two) / 2).abs() <= slack + 1e-4).all()
