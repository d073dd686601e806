"""Smoothing a linear model has a closed form: the certified radius is the distance itself."""

from dataclasses import dataclass, field

import pytest
import torch
from scipy.stats import beta, binom, norm
from torch import Tensor

from holdfast.core.errors import NotApplicable
from holdfast.core.run import Run
from holdfast.core.space import Box, Waveform
from holdfast.engine.certify import certify
from holdfast.engine.ledger import Ledger
from holdfast.trust.certifiers.randomized_smoothing import RandomizedSmoothing
from tests.toys import LinearTarget


def radii(method: RandomizedSmoothing, target: object, x: Tensor, y: Tensor, **run: int) -> Tensor:
    return certify(method, target, x, y, Run(**run), Ledger())


def at_distance(distance: Tensor, features: int = 9) -> Tensor:
    """Inputs of `LinearTarget.two_class` at a signed Euclidean distance above the boundary."""
    return 0.5 + (distance / features**0.5)[:, None].expand(-1, features)


def test_the_radius_never_exceeds_the_true_distance_and_comes_close_to_it() -> None:
    target, sigma = LinearTarget.two_class(9), 0.25
    distance = torch.linspace(0.05, 0.45, 30)
    method = RandomizedSmoothing(sigma=sigma, selection=2000, samples=20000)
    got = radii(method, target, at_distance(distance), torch.ones(30, dtype=torch.long))
    assert (got <= distance + 1e-6).all()
    assert (got >= distance - 0.03).all()


def test_the_radius_is_the_one_worked_out_from_the_exact_probability() -> None:
    """At distance d the hits are Binomial(n, Phi(d / sigma)); so is every quantile of the radius."""
    target, sigma, n, alpha, d = LinearTarget.two_class(4), 0.5, 1000, 0.001, 0.4
    x = at_distance(torch.full((200,), d), 4)
    got = radii(RandomizedSmoothing(sigma=sigma), target, x, torch.ones(200, dtype=torch.long))

    def radius(k: float) -> float:
        return sigma * float(norm.ppf(beta.ppf(alpha, k, n - k + 1)))

    hits = binom(n, norm.cdf(d / sigma))
    assert radius(hits.ppf(1e-6)) <= float(got.min())
    assert float(got.max()) <= radius(hits.ppf(1 - 1e-6))
    assert float(got.median()) == pytest.approx(radius(hits.median()), abs=0.01)


def test_far_from_the_boundary_the_radius_is_capped_by_the_number_of_samples() -> None:
    target = LinearTarget.two_class(4)
    x = at_distance(torch.tensor([50.0]), 4)
    got = radii(RandomizedSmoothing(sigma=1.0), target, x, torch.tensor([1]))
    assert got == pytest.approx(float(norm.ppf(0.001 ** (1 / 1000))), abs=1e-5)


def test_it_is_wrong_no_more_often_than_alpha_as_estimation_has_its_own_samples() -> None:
    """On the boundary no class is more likely, so every certificate is wrong.

    Were the samples that chose the class used again, twice alpha would be certified.
    """
    method = RandomizedSmoothing(sigma=0.25, selection=200, samples=200, alpha=0.1)
    target, x = LinearTarget.two_class(4), at_distance(torch.zeros(3000), 4)
    wrong = sum((radii(method, target, x, torch.full((3000,), y)) > 0).sum() for y in (0, 1))
    assert int(wrong) / 3000 < 0.1 + 3 * (0.09 / 3000) ** 0.5
    assert int(wrong) / 3000 > 0.05


def test_wrong_and_undecided_rows_are_negative() -> None:
    target = LinearTarget.two_class(4)
    x = at_distance(torch.tensor([0.5, 0.0, -0.5]), 4)
    got = radii(RandomizedSmoothing(), target, x, torch.tensor([0, 1, 0]))
    assert (got[:2] == -1).all()
    assert got[2] > 0.3


@dataclass
class Counting:
    """Records how it is asked; always answers 3."""

    rows: list[int] = field(default_factory=list)
    seen: list[Tensor] = field(default_factory=list)
    space: object = field(default_factory=Box)

    def answer(self, x: Tensor) -> Tensor:
        self.rows.append(len(x))
        self.seen.append(x)
        return torch.full((len(x),), 3)


def test_memory_is_bounded_and_every_row_is_asked_n0_plus_n_times() -> None:
    target = Counting()
    x = torch.full((70, 5), 0.5)
    radii(RandomizedSmoothing(), target, x, torch.full((70,), 3))
    assert sum(target.rows) == 70 * 1100
    assert max(target.rows) <= 4096


def test_noise_has_the_stated_size_in_units_of_the_scale_and_is_not_clamped() -> None:
    scale = torch.tensor([1.0, 10.0])
    target = Counting(space=Box(0.0, 1.0, scale))
    x = torch.full((20, 2), 0.5)
    radii(RandomizedSmoothing(sigma=0.5), target, x, torch.full((20,), 3))
    noise = torch.cat(target.seen) - 0.5
    assert noise.std(0).tolist() == pytest.approx([0.5, 5.0], rel=0.02)
    assert noise.mean(0).abs().max() < 0.15


def test_sound_and_empty_batches() -> None:
    with pytest.raises(NotApplicable):
        radii(RandomizedSmoothing(), Counting(space=Waveform()), torch.zeros(1, 4), torch.zeros(1))
    nothing = RandomizedSmoothing().radius(
        Counting(), torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), torch.Generator()
    )
    assert nothing.shape == (0,)


def test_the_same_seed_gives_the_same_radii() -> None:
    target = LinearTarget.two_class(4)
    x, y = at_distance(torch.full((5,), 0.3), 4), torch.ones(5, dtype=torch.long)
    one, again, other = (radii(RandomizedSmoothing(), target, x, y, seed=s) for s in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
