"""Activation clustering (Chen et al. 2018)."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.kinds import DataFilter
from holdfast.core.method import hyper, method
from holdfast.core.target import Features


@method(cites="chen2018", where="alg. 1, relative size and silhouette tests")
@dataclass(frozen=True)
class ActivationClustering(DataFilter[Features]):
    """Activation clustering.

    Per class: the penultimate activations of its rows are reduced to `dimensions` independent
    components and split in two by k-means. The smaller part is removed only where it is both small
    (share < `share`) and well apart (mean silhouette > `silhouette`); a clean class, which splits
    in halves or in overlapping parts, keeps all of its rows.

    The components are principal ones of unit variance: the independent ones of the paper differ
    from them by a rotation, which neither k-means nor the silhouette can see.
    """

    dimensions: int = hyper(10, "the paper's 10 independent components", low=1)
    share: float = hyper(0.35, "a 35 % limit of the relative-size test", low=0, high=0.5)
    silhouette: float = hyper(0.15, "the paper's range is 0.10 to 0.15", low=-1, high=1)

    def suspect(self, target: Features, data: Dataset, rng: Generator) -> Tensor:
        features = target.features(data.tensor).double().cpu()
        flagged = torch.zeros(len(data), dtype=torch.bool)
        for label in data.y.unique():
            rows = (data.y == label).nonzero().flatten().cpu()
            flagged[rows] = self._part(features[rows], rng)
        return flagged

    def _part(self, features: Tensor, rng: Generator) -> Tensor:
        """(n,) Boolean: the smaller cluster where it is suspicious, else nothing."""
        from sklearn.cluster import KMeans
        from sklearn.decomposition import PCA
        from sklearn.metrics import silhouette_score

        none = torch.zeros(len(features), dtype=torch.bool)
        rank = int(torch.linalg.matrix_rank(features - features.mean(0))) if len(features) else 0
        if len(features) < 4 or not rank:  # nothing to split; unit variance needs some variance
            return none
        reduction = PCA(min(self.dimensions, rank), svd_solver="full", whiten=True)
        reduced = reduction.fit_transform(features.numpy())
        seed = int(torch.randint(2**31, (1,), generator=rng, device=rng.device))
        second = torch.from_numpy(KMeans(2, n_init=10, random_state=seed).fit_predict(reduced) == 1)
        smaller = second if 2 * int(second.sum()) <= len(second) else ~second
        if not 0 < int(smaller.sum()) < self.share * len(smaller):
            return none
        apart = float(silhouette_score(reduced, smaller.numpy()))
        return smaller if apart > self.silhouette else none
