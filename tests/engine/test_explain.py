"""The checks of explanations tell a good explainer, a random one and one that ignores the model."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from scipy.stats import spearmanr
from torch import Generator, Tensor, nn

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import Explainer
from holdfast.core.record import Measurement, ThreatModel
from holdfast.core.run import Run
from holdfast.core.target import Answers
from holdfast.engine.case import Case, Evidence
from holdfast.engine.explain import assess, deletion, fresh, order, removed, signed_rank_correlation
from holdfast.trust.explainers.integrated_gradients import IntegratedGradients
from tests.toys import LinearTarget


@dataclass(frozen=True)
class Itself(Explainer[Answers]):
    """Shows the input as its own explanation, as an edge detector would."""

    sign: float = 1.0

    def attribute(self, target: Answers, x: Tensor, y: Tensor, rng: Generator) -> Tensor:
        return self.sign * x


def find(got: Evidence, name: str) -> Measurement:
    return next(m for m in got.measurements if m.name == name)


def run(method: Explainer, target: object, data: Dataset) -> Evidence:
    return assess(method, Case(target, data, ThreatModel("Weights")), Run())


def test_the_deletion_area_is_the_trapezoid_worked_out_by_hand() -> None:
    """Scores (0, 2 x0 + x1): deleting x0 first lowers p faster than deleting x1 first."""
    target = LinearTarget(torch.tensor([[0.0, 2.0], [0.0, 1.0]]), torch.zeros(2))
    x, y, gone = torch.ones(1, 2), torch.tensor([1]), torch.zeros(2)
    p = torch.tensor([3.0, 1.0, 2.0, 0.0]).sigmoid()  # all, without x0, without x1, none

    def area(middle: float) -> float:
        # of 15 steps: all at 0 to 7, one part gone at 8 to 14, both at 15
        curve = [float(p[0])] * 8 + [middle] * 7 + [float(p[3])]
        return sum((a + b) / 2 for a, b in pairwise(curve)) / 15

    first = deletion(target, x, y, order(torch.tensor([[5.0, 1.0]]), x, gone), gone, Run())
    second = deletion(target, x, y, order(torch.tensor([[1.0, 5.0]]), x, gone), gone, Run())
    assert float(first) == pytest.approx(area(float(p[1])), abs=1e-6)
    assert float(second) == pytest.approx(area(float(p[2])), abs=1e-6)


def test_only_parts_that_are_there_are_ranked_and_channels_go_together() -> None:
    x = torch.tensor([[[[1.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [1.0, 1.0]]]])
    importance = torch.tensor([[[[1.0, 9.0], [5.0, -7.0]], [[1.0, 9.0], [5.0, 3.0]]]])
    when = order(importance, x, torch.zeros(2, 2, 2))
    assert torch.allclose(when, torch.tensor([[2 / 3, 2.0, 1 / 3, 1.0]]))


def test_what_is_removed_is_black_in_images_and_the_mean_in_tables() -> None:
    label = torch.zeros(2, dtype=torch.long)
    table = Dataset("t", torch.tensor([[1.0, 4.0], [3.0, 0.0]]), label, ("a",))
    image = Dataset("i", torch.ones(2, 1, 8, 8), label, ("a",))
    assert removed(table).tolist() == [2, 2]
    assert removed(image).sum() == 0


def test_the_correlation_is_signed_spearmans_over_what_is_not_black() -> None:
    rng = torch.Generator().manual_seed(0)
    a, b = (torch.randn(2, 1, 4, 4, generator=rng) for _ in range(2))
    x = torch.ones(2, 1, 4, 4)
    x[0, 0, :2] = 0
    a[0, 0, :2] = b[0, 0, :2] = 0  # equal where the image is black: must not count
    got = signed_rank_correlation(a, b, x, torch.zeros(1, 4, 4))
    assert float(got[0]) == pytest.approx(
        spearmanr(a[0, 0, 2:].flatten(), b[0, 0, 2:].flatten())[0]
    )
    assert float(got[1]) == pytest.approx(spearmanr(a[1].flatten(), b[1].flatten())[0])
    opposite = signed_rank_correlation(a, -a, x, torch.zeros(1, 4, 4))
    assert opposite.tolist() == pytest.approx([-1, -1])
    assert signed_rank_correlation(a, 0 * a, x, torch.zeros(1, 4, 4)).isnan().all()


def test_fresh_weights_are_all_new_and_the_old_ones_stay() -> None:
    module = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))
    with torch.no_grad():
        module[1].weight.fill_(3)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    state = torch.random.get_rng_state()
    new = fresh(module, 0)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    for name in ("0.weight", "0.bias", "1.weight", "2.weight"):
        assert not torch.equal(new.state_dict()[name], before[name])
    assert torch.equal(new[0].weight, fresh(module, 0)[0].weight)
    assert not torch.equal(new[0].weight, fresh(module, 1)[0].weight)

    class Held(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))

    with pytest.raises(NotApplicable, match="Held"):
        fresh(nn.Sequential(Held()), 0)


def test_integrated_gradients_pass_both_checks_on_digits(digit_target, digits) -> None:
    got = run(IntegratedGradients(), digit_target, digits[1].first(60))
    area, control = find(got, "deletion area"), find(got, "deletion area (random order)")
    assert area.high < control.low / 2
    after = find(got, "correlation after randomisation")
    assert abs(after.value) < 0.2
    assert after.n == 5
    assert got.tensors["clean"].shape == got.tensors["attribution"].shape == (8, 1, 8, 8)


def test_an_explainer_that_ignores_the_model_is_given_away(digit_target, digits) -> None:
    got = run(Itself(), digit_target, digits[1].first(60))
    assert find(got, "correlation after randomisation").value == pytest.approx(1)
    best = run(IntegratedGradients(), digit_target, digits[1].first(60))
    assert find(got, "deletion area").value > find(best, "deletion area").value + 0.05


def test_an_upside_down_explanation_is_worse_than_random_order(digit_target, digits) -> None:
    @dataclass(frozen=True)
    class Upside(Explainer[Answers]):
        def attribute(self, target: Answers, x: Tensor, y: Tensor, rng: Generator) -> Tensor:
            return -IntegratedGradients().attribute(digit_target, x, y, rng)

    got = run(Upside(), digit_target, digits[1].first(60))
    assert find(got, "deletion area").low > find(got, "deletion area (random order)").high


def test_without_weights_there_is_no_randomisation_check_and_it_says_so() -> None:
    x = torch.rand(20, 6, generator=torch.Generator().manual_seed(0))
    target = LinearTarget.random(6, 3)
    data = Dataset("toy", x, target.answer(x), ("a", "b", "c"))
    got = run(Itself(), target, data)
    assert not any(m.name == "correlation after randomisation" for m in got.measurements)
    assert any("needs the weights" in note for note in got.notes)
    with pytest.raises(NotApplicable, match="no row right"):
        run(Itself(), target, data.with_rows(x, (data.y + 1) % 3))


def test_labels_of_pixels_are_not_for_this_runner(digit_target, digits) -> None:
    x = digits[1].x[:4]
    dense = Dataset("scenes", x, torch.zeros(4, 8, 8, dtype=torch.long), digits[1].classes)
    with pytest.raises(NotApplicable, match="one label each"):
        run(IntegratedGradients(), digit_target, dense)
