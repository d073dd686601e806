"""Gradients from surrogates, answers from the target: fused exactly, and never mixed up."""

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from holdfast.core.errors import NotApplicable
from holdfast.core.goal import AwayFrom
from holdfast.core.record import ThreatModel
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.engine.case import Case
from holdfast.engine.curve import assess
from holdfast.engine.evasion import attack
from holdfast.engine.transfer import Surrogates, prepared
from holdfast.evasion.attacks.ensemble_transfer import EnsembleTransfer
from holdfast.evasion.attacks.pgd import PGD
from holdfast.evasion.attacks.transfer_stack import TransferStack
from holdfast.targets.torch import TorchClassifier
from tests.oracles import problem
from tests.toys import LinearTarget

THREAT = ThreatModel("Gradients", measure="linf", eps=(0.1, 0.2))


def nets(count: int) -> tuple[TorchClassifier, ...]:
    rng = torch.Generator().manual_seed(0)
    found = []
    for _ in range(count):
        net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()
        for p in net.parameters():
            p.data = torch.randn(p.shape, generator=rng, dtype=torch.float64)
        found.append(TorchClassifier(net.requires_grad_(False)))
    return tuple(found)


@dataclass(frozen=True)
class Closed:
    """A target that gives answers and nothing else, and counts them."""

    inner: LinearTarget
    asked: list[int] = field(default_factory=lambda: [0])

    @property
    def space(self) -> Box:
        return self.inner.space

    def answer(self, x: Tensor) -> Tensor:
        self.asked[0] += len(x)
        return self.inner.answer(x)


@pytest.mark.parametrize("fusion", ["losses", "logits", "probabilities"])
def test_the_fused_gradient_is_that_of_the_fused_loss(fusion: str) -> None:
    models = nets(3)
    x = torch.rand(5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 0, 1])
    goal = AwayFrom(labels)
    leaf = x.clone().requires_grad_()
    raw = [model.module(leaf) for model in models]
    nll = torch.nn.functional.cross_entropy
    if fusion == "losses":
        loss = sum(nll(one, labels, reduction="sum") for one in raw) / 3
    elif fusion == "logits":
        loss = nll(sum(raw) / 3, labels, reduction="sum")
    else:
        mean = sum(one.softmax(1) for one in raw) / 3
        loss = -mean.gather(1, labels.view(-1, 1)).log().sum()
    want = torch.autograd.grad(loss, leaf)[0]
    fused = Surrogates(models[0], models, fusion)
    got = fused.gradient(x, goal.loss)
    assert torch.allclose(got.wrt_input, want, atol=1e-12)
    if fusion != "losses":
        assert torch.allclose(goal.loss(got.raw).sum(), loss.detach())
    assert torch.equal(fused.decode(got.raw), fused.decode(fused.scores(x)))


def test_the_target_is_asked_for_two_answers_and_never_for_gradients() -> None:
    target, x = problem(classes=3)
    closed = Closed(target)
    goal = AwayFrom(target.answer(x))
    front = Surrogates(closed, (target,))
    got = attack(EnsembleTransfer(), front, x, goal, Budget("linf", 0.2), Run())
    assert closed.asked[0] <= 3 * len(x)  # two of the attack, and the engine's own judgement
    assert got.success.all()


def test_only_what_misleads_the_target_counts() -> None:
    """A surrogate that is the target's mirror image sends every row the wrong way."""
    target, x = problem(classes=2)
    mirror = LinearTarget(-target.weight, -target.bias)
    goal = AwayFrom(target.answer(x))
    for model, reached in [(target, True), (mirror, False)]:
        for method in (EnsembleTransfer(), TransferStack(scales=1)):
            got = attack(
                method, Surrogates(Closed(target), (model,)), x, goal, Budget("linf", 0.2), Run()
            )
            assert bool(got.success.all()) == bool(got.success.any()) == reached


def test_peers_are_the_surrogates_of_a_target_without_gradients(digits) -> None:
    _, test = digits
    weight = torch.randn(64, 10, generator=torch.Generator().manual_seed(0))
    inner = LinearTarget(weight, torch.zeros(10))
    told = test.first(40).with_rows(test.x[:40], inner.answer(test.x[:40]))
    case = Case(Closed(inner), told, THREAT, peers=(inner,))
    evidence = assess(EnsembleTransfer(), case, Run())
    broken, noisy = (
        evidence_value(evidence, name, "eps=0.2")
        for name in ("robust accuracy", "accuracy under random noise")
    )
    assert broken < noisy - 0.3
    assert any("1 surrogates (peers that were given)" in note for note in evidence.notes)
    assert any("40 of 40 rows" in note for note in evidence.notes)


def evidence_value(evidence, name: str, part: str) -> float:
    return next(m.value for m in evidence.measurements if (m.name, m.part) == (name, part))


def test_surrogates_are_trained_where_there_are_no_peers(digits, recipe, digit_target) -> None:
    train, test = digits
    few = test.first(120)
    case = Case(digit_target, few, THREAT, train=train.first(600), recipe=recipe)
    evidence = assess(EnsembleTransfer(surrogates=2), case, Run())
    for part in ("eps=0.1", "eps=0.2"):
        noisy = evidence_value(evidence, "accuracy under random noise", part)
        assert evidence_value(evidence, "robust accuracy", part) < noisy - 0.05
    assert any("2 surrogates (trained" in note for note in evidence.notes)


def test_without_any_surrogate_it_cannot_be_run(digits) -> None:
    target = LinearTarget.random(64, 10)
    with pytest.raises(NotApplicable):
        assess(TransferStack(), Case(target, digits[1].first(5), THREAT), Run())


def test_other_methods_keep_the_case_they_were_given(digits) -> None:
    case = Case(LinearTarget.random(64, 10), digits[1].first(5), THREAT)
    assert prepared(PGD(), case, Run()) == (case, ())
