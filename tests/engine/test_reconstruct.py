"""The reconstruction runner: exact measures, independent judges and controls."""

import pytest
import torch
from torch import nn

from holdfast.core.errors import NotApplicable
from holdfast.core.record import ThreatModel
from holdfast.core.run import Run
from holdfast.engine.case import Case
from holdfast.engine.reconstruct import assess, psnr, reconstruct, similarity
from holdfast.privacy.attacks.gradient_leakage import GradientLeakage
from holdfast.privacy.attacks.model_inversion import ModelInversion
from holdfast.targets.training import ClassifierRecipe

THREAT = ThreatModel("Gradients")


def test_psnr_is_that_of_the_known_error_and_never_infinite() -> None:
    truth = torch.zeros(4, 1, 2, 2)
    x = torch.stack([truth[0] + 0.1, truth[1], truth[2] + torch.nan, truth[3] + 1])
    assert psnr(x, truth, 1.0).tolist() == pytest.approx([20.0, 100.0, 0.0, 0.0], abs=1e-4)
    assert psnr(x[:1], truth[:1], 10.0).tolist() == pytest.approx([40.0], abs=1e-4)


def test_similarity_is_the_correlation_of_the_values() -> None:
    a = torch.tensor([[1.0, 2.0, 3.0]])
    b = torch.tensor([[10.0, 20.0, 30.0], [3.0, 2.0, 1.0], [1.0, -2.0, 1.0]])
    assert similarity(a, b)[0].tolist() == pytest.approx([1.0, -1.0, 0.0], abs=1e-9)


def test_inversion_of_digits_is_judged_beside_noise(digits, recipe, digit_target) -> None:
    case = Case(digit_target, digits[1], THREAT, digits[0], recipe)
    evidence = assess(ModelInversion(), case, Run())
    found = {m.name: m for m in evidence.measurements}
    assert found["recognised by an independent model"].value >= 0.7
    assert found["recognised by an independent model"].n == 10
    assert found["noise recognised by an independent model"].high < 0.4
    assert found["accuracy of the independent model"].value > 0.9
    assert 0.3 < found["similarity to class mean"].value < 1
    assert evidence.tensors["truth"].shape == evidence.tensors["reconstruction"].shape
    assert evidence.backwards > 0


def test_the_judge_never_sees_the_rows_of_the_attacked_model(digits, recipe, digit_target) -> None:
    trained = []

    class Spy(ClassifierRecipe):
        def train(self, data, seed):
            trained.append(data)
            return digit_target

    case = Case(digit_target, digits[1], THREAT, digits[0], Spy(recipe.factory))
    assess(ModelInversion(iterations=2), case, Run())
    (rows,) = trained
    assert rows.digest == digits[1].digest


@pytest.fixture(scope="module")
def leaking(digits):
    """A network behind a fully connected layer, which gives single rows away exactly."""
    recipe = ClassifierRecipe(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)), 3
    )
    return Case(recipe.train(digits[0], 0), digits[1], THREAT, digits[0], recipe)


def test_shared_gradients_of_a_fully_connected_network_give_every_row_away(leaking) -> None:
    evidence = assess(GradientLeakage(), leaking, Run())
    found = {(m.name, m.part): m for m in evidence.measurements}
    for part in ("model=trained", "model=fresh"):
        assert found["recovered images", part].value == 1
        assert found["images guessed by their mean", part].value == 0
        assert found["mean PSNR", part].value > 60
    torch.testing.assert_close(evidence.tensors["truth"], evidence.tensors["reconstruction"])
    assert "ReLU" in " ".join(evidence.notes)


def test_a_search_that_is_given_no_time_recovers_nothing(digits, recipe, digit_target) -> None:
    case = Case(digit_target, digits[1], THREAT, digits[0], recipe)
    evidence = assess(GradientLeakage(iterations=1, restarts=1), case, Run())
    found = {(m.name, m.part): m for m in evidence.measurements}
    assert found["recovered images", "model=fresh"].value == 0
    assert digit_target.space.contains(evidence.tensors["reconstruction"]).all()


def test_the_allowance_is_kept_and_an_empty_hand_is_not_a_number(leaking) -> None:
    labels, like = torch.arange(3), torch.zeros(3, 1, 8, 8)
    best, ledger = reconstruct(ModelInversion(), leaking.target, labels, like, Run(queries=20))
    assert ledger.forwards + ledger.backwards <= 3 * 20
    assert best.isfinite().all()
    best, _ = reconstruct(ModelInversion(), leaking.target, labels, like, Run(queries=1))
    assert best.isnan().all()


def test_it_says_why_it_cannot_be_run(digits, digit_target) -> None:
    with pytest.raises(NotApplicable, match="training rows"):
        assess(ModelInversion(), Case(digit_target, digits[1], THREAT), Run())
    with pytest.raises(NotApplicable, match="train models like the target"):
        assess(ModelInversion(), Case(digit_target, digits[1], THREAT, digits[0]), Run())
    with pytest.raises(NotApplicable, match="weights"):
        assess(GradientLeakage(), Case(object(), digits[1], THREAT), Run())


def test_an_allowance_too_small_for_an_inversion_says_so(digits, recipe, digit_target) -> None:
    case = Case(digit_target, digits[1], THREAT, digits[0], recipe)
    with pytest.raises(NotApplicable, match="allowance"):
        assess(ModelInversion(), case, Run(queries=1))
