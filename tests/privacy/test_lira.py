"""The likelihood-ratio attack against laws whose optimal power is known, and on a real network."""

from dataclasses import dataclass, field
from statistics import NormalDist

import pytest
import torch
from torch import Tensor, nn

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.core.recipe import Background, TorchRecipe
from holdfast.core.space import Box
from holdfast.ops.likelihood import Moments, log_ratio, moments, surprise
from holdfast.ops.stats import auc, tpr_at
from holdfast.privacy.attacks.lira import LiRA
from holdfast.privacy.attacks.loss_threshold import LossThreshold
from holdfast.targets.training import ClassifierRecipe


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("level", "power", "within"), [(0.01, 0.0924, 4e-3), (0.001, 0.0183, 3e-3)]
)
def test_the_ratio_has_the_power_that_neyman_and_pearson_allow(level, power, within) -> None:
    n = 100_000
    x = torch.randn(2 * n, generator=generator(), dtype=torch.float64)
    x[:n] += 1
    ones, zeros = torch.ones(2 * n, dtype=x.dtype), torch.zeros(2 * n, dtype=x.dtype)
    scores = log_ratio(x, Moments(ones, ones), Moments(zeros, ones)).numpy()
    assert tpr_at(scores[:n], scores[n:], level) == pytest.approx(power, abs=within)
    law = NormalDist()
    assert law.cdf(law.inv_cdf(level) + 1) == pytest.approx(power, abs=1e-4)


def test_moments_are_those_of_the_chosen_models() -> None:
    values = torch.tensor([[1.0, 10.0], [3.0, 20.0], [50.0, 33.0]], dtype=torch.float64)
    chosen = torch.tensor([[True, True], [True, True], [False, True]])
    own, pooled = moments(values, chosen, False), moments(values, chosen, True)
    assert own.mean.tolist() == [2.0, 21.0]
    assert own.std.tolist() == pytest.approx([2**0.5, 133**0.5])
    # residuals -1, 1, -11, -1, 12 with one degree of freedom less per row: 268 / (1 + 2)
    assert pooled.std.tolist() == pytest.approx([(268 / 3) ** 0.5] * 2)


def test_surprise_is_one_sided_and_keeps_its_resolution() -> None:
    law = Moments(torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64))
    low, middle, high, higher = surprise(torch.tensor([-9.0, 0.0, 20.0, 21.0]).double(), law)
    assert low < middle < high < higher
    assert float(middle) == pytest.approx(0.693147, abs=1e-6)


@dataclass(frozen=True, eq=False)
class Planted:
    """A world without training: log-odds of a row are its ease, noise, and 1 for members.

    A row's ease, its x, varies much more than membership adds, so that a global threshold on the
    loss learns next to nothing and only the comparison row by row works.
    """

    truth: Tensor
    seen: list[Tensor] = field(default_factory=list)
    space: Box = field(default_factory=Box)
    digest: str = "planted"

    def scores(self, x: Tensor) -> Tensor:
        return self._raw(x, self.truth, 0)

    def bank(self, data: Dataset, member: Tensor, queries: Tensor, seed: int) -> Tensor:
        self.seen.append(member)
        return torch.stack(
            [self._raw(queries, row[: len(queries)], seed + m + 1) for m, row in enumerate(member)]
        )

    def _raw(self, x: Tensor, inside: Tensor, seed: int) -> Tensor:
        odds = x + inside.view(-1, 1) + torch.randn(x.shape, generator=generator(seed))
        return torch.cat([torch.zeros_like(odds), odds], 1)

    def train(self, data, seed): ...
    def build(self, seed): ...
    def wrap(self, module): ...
    def fit(self, module, data, seed): ...


def planted(n: int = 1500) -> tuple[Planted, Dataset, Dataset]:
    x = 4 * torch.randn(2 * n, 1, generator=generator(9))
    y = torch.ones(2 * n, dtype=torch.long)
    rows = Dataset("planted", x, y, ("a", "b"))
    return Planted(torch.arange(2 * n) < n), rows, rows.first(50)


@pytest.mark.parametrize(("offline", "least"), [(False, 0.72), (True, 0.70)])
def test_a_planted_difference_is_found_where_a_global_threshold_finds_none(offline, least) -> None:
    """The optimum is Phi(1 / sqrt 2) = 0.76; the global threshold's is Phi(1 / sqrt 34) = 0.568."""
    world, data, extra = planted()
    assert isinstance(world, TorchRecipe)
    n, background = len(data) // 2, Background(world, extra)
    scores = LiRA(shadows=32, offline=offline).score(world, data, background, generator()).numpy()
    plain = LossThreshold().score(world, data, background, generator()).numpy()
    assert least < auc(scores[:n], scores[n:]) < 0.80
    assert auc(plain[:n], plain[n:]) < 0.60


def test_every_shadow_model_sees_half_of_all_rows_and_every_row_half_of_the_models() -> None:
    world, data, extra = planted(40)
    LiRA(shadows=8).score(world, data, Background(world, extra), generator())
    (member,) = world.seen
    assert member.shape == (8, 80 + 50)
    assert (member.sum(1) == 65).all()
    assert (member.sum(0) == 4).all()


def test_offline_no_shadow_model_ever_sees_a_row_that_is_scored() -> None:
    world, data, extra = planted(40)
    LiRA(shadows=8, offline=True).score(world, data, Background(world, extra), generator())
    assert not world.seen[0][:, : len(data)].any()
    assert world.seen[0][:, len(data) :].any()


def test_it_says_why_it_cannot_run() -> None:
    world, data, _ = planted(4)
    with pytest.raises(NotApplicable, match="PyTorch"):
        LiRA().score(world, data, Background(), generator())
    with pytest.raises(NotApplicable, match="rows of its own"):
        LiRA(offline=True).score(world, data, Background(world), generator())


def test_on_an_overfitted_network_it_beats_the_loss_threshold(digits) -> None:
    """30 % of the labels are noise, which the network can only learn by heart."""

    def noisy(rows: Dataset) -> Dataset:
        flip = torch.rand(len(rows), generator=generator(len(rows))) < 0.3
        wrong = torch.randint(10, (len(rows),), generator=generator(1))
        return rows.with_rows(rows.x, torch.where(flip, wrong, rows.y))

    train, test = digits
    inside, outside = noisy(train.first(200)), noisy(test.first(200))
    recipe = ClassifierRecipe(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)),
        epochs=60, rate=5e-3,
    )  # fmt: skip
    target = recipe.train(inside, seed=0)
    data = Dataset(
        "both", torch.cat([inside.x, outside.x]), torch.cat([inside.y, outside.y]), train.classes
    )
    background = Background(recipe, noisy(test.take(torch.arange(200, 400))))
    lira, loss = (
        method.score(target, data, background, generator()).numpy()
        for method in (LiRA(), LossThreshold())
    )
    assert auc(lira[:200], lira[200:]) > auc(loss[:200], loss[200:]) + 0.03
    assert auc(lira[:200], lira[200:]) > 0.68
