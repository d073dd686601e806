"""QEBA's subspaces and what they save; what it reaches on flat boundaries is in test_decisions.py."""

import pytest
import torch

from holdfast.core.goal import AwayFrom
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.hop_skip_jump import HopSkipJump
from holdfast.evasion.attacks.qeba import QEBA
from holdfast.evasion.decisions import low_frequencies
from tests.hunting import hunt_on, outward
from tests.toys import LinearTarget


def smooth(n: int) -> tuple[LinearTarget, torch.Tensor]:
    """Two classes of 16 x 16 images whose boundary has a coarse normal."""
    w = QEBA().enlarged(torch.zeros(1, 1, 16, 16), torch.Generator().manual_seed(0)).flatten()
    target = LinearTarget(torch.stack([-w, w], 1), torch.stack([w.sum(), -w.sum()]) / 2 - 0.3)
    x = 0.4 + 0.2 * torch.rand(n, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    return target, x


def test_enlarged_noise_spans_as_many_dimensions_as_the_coarse_image_has_pixels() -> None:
    noise = QEBA(reduction=4).enlarged(torch.zeros(40, 1, 16, 16), torch.Generator().manual_seed(0))
    assert noise.shape == (40, 1, 16, 16)
    assert torch.linalg.matrix_rank(noise.flatten(1), rtol=1e-4) == 16
    # neighbours are alike: bilinear, not blocks
    assert (noise.diff(dim=-1).abs().amax((1, 2, 3)) < noise.abs().amax((1, 2, 3))).all()


@pytest.mark.parametrize("subspace", ["resize", "frequency"])
def test_in_the_subspace_few_probes_find_a_smooth_normal(subspace) -> None:
    target, x = smooth(8)
    hunt = hunt_on(target, x)
    draw = QEBA().enlarged if subspace == "resize" else low_frequencies(0.25)
    adv = hunt.edge.search(x, hunt.adv, hunt.rows)
    delta, rng = torch.full((8,), 0.01), torch.Generator().manual_seed(0)
    truth = outward(target, x).view_as(x)
    inside, outside = (
        torch.cosine_similarity(
            hunt.edge.normal(adv, hunt.rows, delta, 100, rng, law).flatten(1), truth.flatten(1)
        )
        for law in (draw, None)
    )
    assert (inside > 0.8).all()
    assert (inside > outside + 0.2).all()


def test_with_as_many_queries_it_comes_nearer_than_hop_skip_jump() -> None:
    target, x = smooth(10)
    goal, run = AwayFrom(target.answer(x)), Run(queries=600)
    here, plain = (
        attack(method, target, x, goal, Budget("l2", torch.inf), run).distance
        for method in (QEBA(), HopSkipJump())
    )
    assert (here < plain).all()
    assert (here / target.distance(x, "l2")).median() < 1.3
