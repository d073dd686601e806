"""New inputs from a GAN: a planted blind spot is found, and who judges had no part in the search."""

from dataclasses import replace

import pytest
import torch

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.core.goal import AwayFrom, ToClass
from holdfast.core.record import ThreatModel
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.case import Case
from holdfast.engine.curve import assess
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.gan_unrestricted import GANUnrestricted
from holdfast.ops.generators import conditional
from tests.toys import LinearTarget

ANY = Budget("any", 0.0)
QUICK = GANUnrestricted(steps=60, tries=2, lessons=350, latent=4, lambda2=10.0, sure=0.5)


def sides(n: int = 400, seed: int = 0) -> Dataset:
    """Six features; class 0 where their mean is below one half, with a gap to class 1."""
    rng = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    middle = 0.15 + 0.3 * torch.rand(n, 1, generator=rng) + 0.4 * y.view(-1, 1)
    x = (middle + 0.06 * torch.randn(n, 6, generator=rng)).clamp(0, 1)
    return Dataset("sides", x, y, ("low", "high"))


def judge_at(level: float, slope: float = 30.0) -> LinearTarget:
    """Answers class 1 where the mean is above `level`."""
    flat = LinearTarget.two_class(6)
    return LinearTarget(slope * flat.weight, slope * torch.tensor([level, -level]))


@pytest.fixture(scope="module")
def learnt():
    return QUICK.learn(sides(), torch.Generator().manual_seed(0))


def test_inputs_of_a_class_look_like_that_class_and_not_all_alike() -> None:
    data = sides()
    rng = torch.Generator().manual_seed(0)
    box = torch.tensor(0.0), torch.tensor(1.0)
    gan = conditional(data.x, data.y, 2, box, 4, 400, rng)
    z, y = torch.randn(400, 4, generator=rng), torch.arange(400) % 2
    made = gan.made(z, y)
    assert ((made.mean(1) > 0.5) == (y == 1)).float().mean() > 0.95
    assert made[y == 0].mean(1).std() > 0.25 * data.x[data.y == 0].mean(1).std()
    assert (gan.told(data.x)[1].argmax(1) == data.y).float().mean() > 0.97
    same = conditional(data.x, data.y, 2, box, 4, 3, torch.Generator().manual_seed(1))
    again = conditional(data.x, data.y, 2, box, 4, 3, torch.Generator().manual_seed(1))
    assert torch.equal(same.made(z, y), again.made(z, y))


def test_it_finds_the_planted_blind_spot_and_only_there(learnt) -> None:
    """A target that draws the line at 0.38 misreads low inputs above it, and nothing else."""
    data = sides(80, seed=1)
    low = data.x[(data.y == 0) & (data.x.mean(1) < 0.3)][:20]
    labels = torch.zeros(len(low), dtype=torch.long)
    got = attack(learnt, judge_at(0.38), low, AwayFrom(labels), ANY, Run())
    assert got.success.float().mean() > 0.7
    won = got.x[got.success].mean(1)
    assert (won > 0.38).all()
    assert (won < 0.52).float().mean() > 0.9  # they still are low
    assert (learnt.judge(got.x[got.success]) == 0).float().mean() > 0.9
    assert torch.equal(got.x[~got.success], low[~got.success])
    right = attack(learnt, judge_at(0.5), low, AwayFrom(labels), ANY, Run())
    assert right.success.float().mean() < 0.3


def test_the_search_keeps_the_class_and_stays_near_its_start(learnt) -> None:
    """With a target that says nothing, only the other two terms move the code."""
    mute = LinearTarget(torch.zeros(6, 2), torch.tensor([1.0, 0.0]))
    x, labels = torch.full((40, 6), 0.5), torch.zeros(40, dtype=torch.long)

    def ends(settings):
        method = replace(QUICK, tries=1, steps=12, **settings)
        rng, made = torch.Generator().manual_seed(5), []
        view = Shown(mute, made)
        for _ in method.search(learnt.gan, view, x, AwayFrom(labels), rng):
            pass
        said = [learnt.gan.told(each)[1].log_softmax(1)[:, 0] for each in (made[0], made[-1])]
        return said[1] - said[0], (made[-1] - made[0]).norm(dim=1)

    surer, free = ends({"lambda1": 0.0})
    assert (surer >= -1e-4).float().mean() > 0.9
    assert surer.mean() > 0
    _, tied = ends({"lambda1": 1e4, "near": 0.0, "rate": 0.02})
    _, loose = ends({"lambda1": 0.0, "near": 0.0, "rate": 0.02})
    assert tied.mean() < loose.mean()
    assert free.mean() > 0


class Shown:
    """A target that notes what it is asked about."""

    def __init__(self, target, made) -> None:
        self.target, self.made, self.space = target, made, target.space

    def answer(self, x):
        return self.target.answer(x)

    def decode(self, raw):
        return self.target.decode(raw)

    def gradient(self, x, loss):
        self.made.append(x)
        return self.target.gradient(x, loss)


def test_what_is_found_shows_its_class_as_surely_as_plain_images_do(learnt) -> None:
    data = sides(160, seed=1)
    low = data.x[(data.y == 0) & (data.x.mean(1) < 0.25)]  # rows that the target reads rightly
    labels = torch.zeros(len(low), dtype=torch.long)

    def surely(sure):
        method = replace(learnt, method=replace(learnt.method, sure=sure))
        got = attack(method, judge_at(0.25), low, AwayFrom(labels), ANY, Run())
        assert got.success.any()
        return learnt.gan.told(got.x[got.success])[1].softmax(1)[:, 0]

    assert surely(0.0).min() < 0.8 <= surely(0.8).min()
    # nothing can be as sure as this; then it is as sure as half of what the GAN makes
    z = torch.randn(500, learnt.gan.latent, generator=torch.Generator().manual_seed(3))
    plain = learnt.gan.made(z, torch.zeros(500, dtype=torch.long))
    usual = learnt.gan.told(plain)[1].softmax(1)[:, 0]
    assert surely(1.0).min() > usual.quantile(0.3)


def test_a_wanted_class_is_reached_by_inputs_that_show_the_old_one(learnt) -> None:
    data = sides(80, seed=1)
    high = data.x[(data.y == 1) & (data.x.mean(1) > 0.7)][:12]
    target = judge_at(0.62)
    wanted = torch.zeros(len(high), dtype=torch.long)
    got = attack(learnt, target, high, ToClass(wanted), ANY, Run())
    assert got.success.float().mean() > 0.6
    assert (target.answer(got.x[got.success]) == 0).all()
    assert (learnt.judge(got.x[got.success]) == 1).float().mean() > 0.8


def test_searching_beats_the_first_try_and_the_allowance_holds(learnt) -> None:
    data = sides(60, seed=2)
    low = data.x[data.y == 0]
    goal = AwayFrom(torch.zeros(len(low), dtype=torch.long))
    first = attack(learnt, judge_at(0.42), low, goal, ANY, Run(queries=2))
    full = attack(learnt, judge_at(0.42), low, goal, ANY, Run())
    assert first.forwards + first.backwards <= 2 * len(low)
    assert full.success.sum() > first.success.sum() + 0.3 * len(low)


def test_the_runner_reports_how_many_labels_an_independent_classifier_would_keep() -> None:
    data = sides(160, seed=3)
    case = Case(judge_at(0.4), data.first(60), ThreatModel("Gradients"), train=sides())
    method = replace(QUICK, steps=30, lessons=250)
    found = {m.name: m for m in assess(method, case, Run()).measurements}
    kept = found["label kept, says an independent classifier"]
    right = round(found["clean accuracy"].value * 60)
    assert kept.n == right - round(found["robust accuracy"].value * 60)
    assert kept.low <= kept.value <= kept.high
    assert found["accuracy of the independent classifier"].value > 0.9
    assert found["robust accuracy"].value < found["accuracy under one try"].value
    with pytest.raises(NotApplicable, match="training rows"):
        assess(method, replace(case, train=None), Run())
    with pytest.raises(NotApplicable, match="training rows for its GAN"):
        assess(method, replace(case, train=sides(30)), Run())


def test_without_training_rows_it_learns_from_the_rows_under_attack() -> None:
    data = sides(120, seed=4)
    target = judge_at(0.42)
    right = target.answer(data.x) == data.y
    x, y = data.x[right], data.y[right]
    got = attack(replace(QUICK, steps=30, lessons=200), target, x, AwayFrom(y), ANY, Run())
    assert got.success[y == 0].float().mean() > got.success[y == 1].float().mean() + 0.3
