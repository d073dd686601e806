"""The attack on a fused ensemble: closed forms, equal to MI-FGSM on one model, better from several."""

import pytest
import torch

from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.evasion import attack
from holdfast.engine.transfer import Surrogates
from holdfast.evasion.attacks.ensemble_transfer import EnsembleTransfer
from holdfast.evasion.attacks.mi_fgsm import MIFGSM
from tests.oracles import check_fixed, check_masked, check_targeted, problem, two_class
from tests.toys import LinearTarget


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_succeeds_exactly_within_the_distance_where_the_surrogate_is_the_target(norm: str) -> None:
    check_fixed(EnsembleTransfer(), norm, *two_class(), slack=0.01)
    check_targeted(EnsembleTransfer(), norm, slack=0.01)
    check_masked(EnsembleTransfer(), norm, slack=0.01)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_on_one_model_its_last_iterate_is_that_of_mi_fgsm(norm: str) -> None:
    target, x = problem(classes=4)
    goal, budget = AwayFrom(target.answer(x)), Budget(norm, 0.05)
    ends = [
        [c.x for c in method.run(target, x, goal, budget, torch.Generator())][-1]
        for method in (EnsembleTransfer(), MIFGSM())
    ]
    assert torch.equal(*ends)


@pytest.mark.parametrize("fusion", ["losses", "logits", "probabilities"])
def test_errors_of_surrogates_that_differ_cancel_in_an_ensemble(fusion: str) -> None:
    """Each surrogate is the target plus noise of its own; of nine the mean is nearer to it."""
    target, x = two_class((64,), n=64)
    rng = torch.Generator().manual_seed(0)
    noisy = [target.weight + 15 * torch.randn(target.weight.shape, generator=rng) for _ in range(9)]
    models = tuple(LinearTarget(w / 10, -w.sum(0) / 20) for w in noisy)
    goal, budget = AwayFrom(target.answer(x)), Budget("linf", 1.8 * target.distance(x, "linf"))
    method = EnsembleTransfer(fusion=fusion)

    def share(surrogates: tuple[LinearTarget, ...]) -> float:
        front = Surrogates(target, surrogates, fusion)
        return float(attack(method, front, x, goal, budget, Run()).success.float().mean())

    alone = sum(share((model,)) for model in models) / 9
    assert share(models) > alone + 0.3
