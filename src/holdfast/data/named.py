"""Small data sets that come with scikit-learn, by name."""

from collections.abc import Callable, Mapping

import torch

from holdfast.core.dataset import Dataset
from holdfast.data.split import Split, bound, divide


def digits(seed: int) -> Split:
    """UCI handwritten digits: 1,797 images (N, 1, 8, 8), grey values 0 to 16 divided by 16."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    x = torch.tensor(raw.images, dtype=torch.float32).unsqueeze(1) / 16
    y = torch.tensor(raw.target, dtype=torch.long)
    return divide(Dataset("digits", x, y, tuple(str(name) for name in raw.target_names)), seed)


def breast_cancer(seed: int) -> Split:
    """Breast Cancer Wisconsin (Diagnostic): a table of 569 rows and 30 columns, unscaled."""
    from sklearn.datasets import load_breast_cancer

    raw = load_breast_cancer()
    whole = Dataset(
        "breast-cancer",
        torch.tensor(raw.data, dtype=torch.float32),
        torch.tensor(raw.target, dtype=torch.long),
        tuple(str(name) for name in raw.target_names),
        columns=tuple(str(name) for name in raw.feature_names),
    )
    return bound(divide(whole, seed))


NAMED: Mapping[str, Callable[[int], Split]] = {"digits": digits, "breast-cancer": breast_cancer}
