"""Gradient attacks on models that are very sure, flat, or without bounds: no false robustness."""

from dataclasses import replace

import pytest
import torch

from holdfast.core.errors import NotApplicable
from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.auto_pgd import AutoPGD
from holdfast.evasion.attacks.bim import BIM
from holdfast.evasion.attacks.brendel_bethge import BrendelBethge
from holdfast.evasion.attacks.ddn import DDN
from holdfast.evasion.attacks.fab import FAB
from holdfast.evasion.attacks.fgsm import FGSM
from holdfast.evasion.attacks.fmn import FMN
from holdfast.evasion.attacks.lbfgs import LBFGS
from holdfast.evasion.attacks.mi_fgsm import MIFGSM
from holdfast.evasion.attacks.newtonfool import NewtonFool
from holdfast.evasion.attacks.pgd import PGD
from holdfast.evasion.attacks.substitute import Substitute
from holdfast.evasion.attacks.trust_region import TrustRegion
from tests.toys import LinearTarget

FIXED = [FGSM(), BIM(), PGD(), MIFGSM(), AutoPGD(steps=20)]
MINIMAL = [DDN(steps=200), NewtonFool(steps=40)]


def sure(nats: float) -> tuple[LinearTarget, torch.Tensor]:
    """Two classes and rows whose scores differ by about so many nats, near the middle of the box."""
    target = LinearTarget.two_class(24)
    x = 0.4 + 0.05 * torch.rand(4, 24, generator=torch.Generator().manual_seed(0))
    scale = nats / float(target.scores(x).diff(dim=1).abs().mean())
    return replace(target, weight=target.weight * scale, bias=target.bias * scale), x


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("method", [*FIXED, *MINIMAL], ids=lambda m: type(m).__name__)
def test_a_model_sixty_nats_sure_is_as_weak_as_a_doubtful_one(method, norm) -> None:
    """The gradient of its loss is 1e-26, far below what single precision can square."""
    if norm not in method.measures:
        return
    target, x = sure(60.0)
    far = target.distance(x, norm)
    room = torch.inf if method in MINIMAL else 1.2 * far
    got = attack(method, target, x, AwayFrom(target.answer(x)), Budget(norm, room), Run())
    assert got.success.all()
    assert (got.distance <= 1.21 * far).all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_smallest_change_is_the_same_however_small_the_scores_are(norm) -> None:
    target = LinearTarget.random(6, 3)
    quiet = replace(target, weight=1e-12 * target.weight)
    x = 0.4 + 0.2 * torch.rand(4, 6, generator=torch.Generator().manual_seed(0))
    for method in (FAB(steps=20), TrustRegion(), FMN(steps=60)):
        goal, free = AwayFrom(target.answer(x)), Budget(norm, torch.inf)
        if norm in method.measures:
            loud, low = (attack(method, t, x, goal, free, Run()) for t in (target, quiet))
            assert low.success.all()
            assert torch.allclose(low.distance, loud.distance, rtol=0.01)


class Watched(LinearTarget):
    """Refuses inputs that are no numbers."""

    def scores(self, x):
        assert x.isfinite().all()
        return super().scores(x)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("space", [Box(), Box(-torch.inf, torch.inf)], ids=["box", "free"])
def test_fab_asks_about_numbers_only_where_nothing_is_found_and_where_there_are_no_bounds(
    norm, space
) -> None:
    x = torch.rand(4, 6, generator=torch.Generator().manual_seed(0))
    flat = Watched(torch.zeros(6, 3), torch.tensor([1.0, 0.0, 0.0]), space)
    steep = Watched(LinearTarget.random(6, 3).weight, torch.zeros(3), space)
    for target, falls in ((flat, False), (steep, True)):
        goal = AwayFrom(target.answer(x))
        got = attack(FAB(steps=20), target, x, goal, Budget(norm, torch.inf), Run())
        assert got.success.tolist() == [falls] * 4


def test_a_walk_that_begins_at_random_inputs_needs_bounds() -> None:
    target = replace(LinearTarget.random(6, 3), space=Box(-torch.inf, torch.inf))
    x = torch.rand(2, 6, generator=torch.Generator().manual_seed(0))
    with pytest.raises(NotApplicable, match="bounds"):
        attack(BrendelBethge(), target, x, AwayFrom(target.answer(x)), Budget("l2", 1.0), Run())


def test_a_row_of_which_nothing_may_change_stays() -> None:
    target = replace(LinearTarget.random(6, 3), space=Box(editable=torch.zeros(6).bool()))
    x = torch.rand(2, 6, generator=torch.Generator().manual_seed(0))
    got = attack(LBFGS(), target, x, AwayFrom(target.answer(x)), Budget("l2", torch.inf), Run())
    assert torch.equal(got.x, x)
    assert not got.success.any()


def test_an_attack_that_pools_rows_takes_double_precision() -> None:
    single = LinearTarget.random(6, 3)
    target = replace(single, weight=single.weight.double(), bias=single.bias.double())
    x = torch.rand(9, 6, generator=torch.Generator().manual_seed(0)).double()
    method = Substitute(seeds=9, iterations=1, epochs=1, steps=2)
    got = attack(method, target, x, AwayFrom(target.answer(x)), Budget("linf", 0.3), Run())
    assert got.x.dtype == torch.float64
    assert (got.distance <= 0.3 * (1 + 1e-4)).all()
