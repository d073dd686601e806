"""GeoDA's way to a plane in each norm, its queries and its subspace; results in test_decisions.py."""

import pytest
import torch

from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.geoda import GeoDA, along
from holdfast.evasion.decisions import low_frequencies
from holdfast.ops import boundary, dct
from tests.hunting import hunt_on, outward
from tests.oracles import two_class
from tests.toys import LinearTarget


@pytest.mark.parametrize("norm", ["l2", "linf", "l1"])
def test_with_the_true_normal_one_step_ends_at_the_closed_form_distance(norm) -> None:
    target, x = two_class((8,), n=12)
    hunt = hunt_on(target, x, norm)
    normal = outward(target, x)
    found = GeoDA()._nearest(hunt, hunt.adv, normal)
    ratio = hunt.distance(found) / target.distance(x, norm)
    assert (target.answer(found) != target.answer(x)).all()
    assert ((ratio > 0.9999) & (ratio < 1.002)).all()
    assert torch.equal(GeoDA()._nearest(hunt, hunt.adv, -normal), hunt.adv)  # the wrong way


def test_the_l1_way_fills_features_to_their_bounds_in_the_order_of_their_weight() -> None:
    # gap 2: feature 0 gives 3 * 0.5, the rest needs 0.25 of feature 1
    w = torch.tensor([3.0, 2.0, 1.0])
    target = LinearTarget(torch.stack([-w, w], 1) / 2, torch.tensor([0.0, -5.0]))
    x = torch.full((1, 3), 0.5)
    hunt = hunt_on(target, x, "l1")
    path = along(hunt, w.view(1, 3))
    point = path(torch.tensor([0.75]), torch.tensor([0]))
    assert torch.allclose(point, torch.tensor([[1.0, 0.75, 0.5]]))
    found = GeoDA()._nearest(hunt, torch.ones(1, 3), w.view(1, 3))
    assert float(hunt.distance(found)) == pytest.approx(0.75, abs=1e-3)


def test_queries_of_an_iteration_grow_by_a_fixed_rate(monkeypatch) -> None:
    counts, normal = [], boundary.Boundary.normal

    def spy(self, at, rows, delta, count, rng, draw=None):
        counts.append(count)
        return normal(self, at, rows, delta, count, rng, draw)

    monkeypatch.setattr(boundary.Boundary, "normal", spy)
    target, x = two_class((6,), n=2)
    goal = AwayFrom(target.answer(x))
    attack(GeoDA(iterations=5), target, x, goal, Budget("l2", torch.inf), Run())
    assert counts == [65, 91, 128, 181, 254]  # 65 * 0.6^(-2 t / 3)


def test_noise_of_images_has_low_frequencies_only_and_fills_them_evenly() -> None:
    like = torch.zeros(400, 2, 12, 9)
    noise = low_frequencies(0.5)(like, torch.Generator().manual_seed(0))
    power = dct.forward(noise).square().mean((0, 1))
    assert torch.allclose(power[:6, :5], torch.ones(6, 5), atol=0.25)
    assert power[6:].abs().max() < 1e-9
    assert power[:, 5:].abs().max() < 1e-9


def test_where_the_normal_is_smooth_the_subspace_saves_queries() -> None:
    waves = torch.zeros(1, 12, 12)
    waves[0, :4, :4] = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    w = dct.inverse(waves).flatten()
    target = LinearTarget(torch.stack([-w, w], 1), torch.stack([w.sum(), -w.sum()]) / 2 - 0.3)
    x = 0.4 + 0.2 * torch.rand(10, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    goal = AwayFrom(target.answer(x))
    low, full = (
        attack(GeoDA(iterations=4, band=band), target, x, goal, Budget("l2", torch.inf), Run())
        for band in (0.34, 1.0)
    )
    far = target.distance(x, "l2")
    assert (low.distance / far).median() < 1.1
    assert (full.distance / far).median() > 1.2
    assert (low.distance < full.distance).all()
