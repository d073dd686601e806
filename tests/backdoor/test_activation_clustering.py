"""Activation clustering on planted Gaussian clusters of known share."""

import pytest
import torch
from torch import Tensor

from holdfast.backdoor.defences.activation_clustering import ActivationClustering
from holdfast.core.dataset import Dataset


class Identity:
    """Features are the inputs."""

    def features(self, x: Tensor) -> Tensor:
        return x


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def classes_of(shares: list[float], distance: float, dims: int = 3, n: int = 200):
    """One class per share; that share of its rows lies `distance` away along the first axis."""
    x = torch.randn(len(shares) * n, dims, generator=rng(5))
    y = torch.arange(len(shares)).repeat_interleave(n)
    away = torch.cat([torch.arange(n) < round(share * n) for share in shares])
    x[away, 0] += distance
    x += 30.0 * y.unsqueeze(1)
    return Dataset("planted", x, y, tuple("abcdef"[: len(shares)])), away


def flagged(data: Dataset, **params) -> Tensor:
    return ActivationClustering(**params).suspect(Identity(), data, rng())


@pytest.mark.parametrize("share", [0.05, 0.15, 0.3])
@pytest.mark.parametrize("dims", [1, 3])
def test_a_small_distant_cluster_is_found_exactly_in_its_class(share: float, dims: int) -> None:
    data, away = classes_of([0.0, share, 0.0], distance=15.0, dims=dims)
    assert torch.equal(flagged(data), away)


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_taken_from_clean_classes(seed: int) -> None:
    """Always dropping the smaller cluster would remove some 40 % of clean rows."""
    x = torch.randn(600, 5, generator=rng(seed))
    data = Dataset("clean", x, torch.arange(600) % 3, tuple("abc"))
    assert not flagged(data).any()


def test_two_large_clusters_are_two_kinds_of_clean_rows() -> None:
    data, _ = classes_of([0.45, 0.4], distance=15.0)
    assert not flagged(data).any()


def test_a_small_cluster_that_overlaps_is_kept() -> None:
    data, away = classes_of([0.2], distance=15.0)
    assert torch.equal(flagged(data), away)
    assert not flagged(data, silhouette=0.9).any()


def test_the_defence_is_blind_to_more_than_its_share_of_poison() -> None:
    """Its known limit: with over half of a class poisoned, the clean rows are the small part."""
    data, away = classes_of([0.8], distance=15.0)
    assert torch.equal(flagged(data), ~away)


def test_rows_that_are_all_alike_or_too_few_are_kept() -> None:
    x = torch.cat([torch.ones(50, 3), torch.randn(3, 3, generator=rng())])
    data = Dataset("alike", x, torch.tensor([0] * 50 + [1] * 3), ("a", "b"))
    assert not flagged(data).any()
