"""Feature squeezing on models where the disagreement can be worked out by hand."""

import pytest
import torch

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.evasion.defences.feature_squeezing import BitDepth, FeatureSqueezing, Median
from holdfast.ops.transforms import bit_depth, median_filter
from tests.toys import LinearTarget

RNG = torch.Generator()


def clean(x: torch.Tensor) -> Dataset:
    return Dataset("images", x, torch.zeros(len(x), dtype=torch.long), ("a", "b"))


def test_the_score_is_the_largest_distance_over_the_squeezers() -> None:
    target = LinearTarget.random(36, 3)
    x = torch.rand(20, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    detector = FeatureSqueezing(bits=1, keeps=0.0).fit(target, clean(x), RNG)
    expected = torch.zeros(20)
    for squeezed in (bit_depth(x, 1), median_filter(x, 2)):
        gap = target.scores(x).softmax(1) - target.scores(squeezed).softmax(1)
        expected = torch.maximum(expected, gap.abs().sum(1))
    assert torch.allclose(detector(x), expected, atol=1e-6)
    assert expected.max() > 0.1


def test_an_image_that_squeezing_does_not_change_scores_zero() -> None:
    target = LinearTarget.random(36, 3)
    flat = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 6, 6)
    assert (FeatureSqueezing(keeps=0.0).fit(target, clean(flat), RNG)(flat) == 0).all()


def test_a_small_change_over_a_rounding_step_is_seen_and_one_within_is_not() -> None:
    # class 1 where the mean is above 0.5; one bit sends 0.49 to zero and 0.51 to one
    target = LinearTarget.two_class(36)
    target = LinearTarget(20 * target.weight, 20 * target.bias)
    detector = FeatureSqueezing(bits=1, keeps=0.0).fit(target, clean(torch.rand(4, 1, 6, 6)), RNG)
    low, high = (float(detector(torch.full((1, 1, 6, 6), v))) for v in (0.02, 0.49))
    assert low < 0.01
    assert high > 0.5


@pytest.mark.parametrize(("level", "bits"), [(1.0, 1), (0.34, 2), (0.15, 3), (0.06, 4)])
def test_the_fewest_bits_that_leave_clean_answers_alone_are_taken(level: float, bits: int) -> None:
    # the answer is whether the image is black, and b bits turn all below 0.5 / (2^b - 1) black
    weight = torch.stack([torch.zeros(36), torch.ones(36)], 1)
    target = LinearTarget(weight, torch.tensor([0.01, 0.0]))
    x = torch.cat([torch.zeros(5, 1, 6, 6), torch.full((5, 1, 6, 6), level)])
    detector = FeatureSqueezing().fit(target, clean(x), RNG)
    assert detector.squeezers[0] == BitDepth(bits)


def test_a_filter_that_ruins_clean_answers_is_left_out() -> None:
    # the answer hangs on single bright pixels, which any median removes
    weight = torch.stack([torch.zeros(36), torch.ones(36)], 1)
    target = LinearTarget(weight, torch.tensor([0.5, 0.0]))
    x = torch.zeros(10, 1, 6, 6)
    x[:5, 0, 3, 3] = 1.0
    assert Median(2) not in FeatureSqueezing().fit(target, clean(x), RNG).squeezers
    assert Median(2) in FeatureSqueezing(keeps=0.5).fit(target, clean(x), RNG).squeezers


def test_tables_are_not_squeezed() -> None:
    with pytest.raises(NotApplicable, match="images"):
        FeatureSqueezing().fit(LinearTarget.random(4, 2), clean(torch.rand(9, 4)), RNG)
