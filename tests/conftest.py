"""Fixtures that many tests share; trained once a run."""

import os
from pathlib import Path

# threads that wait for each other on a busy machine make small networks ten times slower
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from holdfast.core.dataset import Dataset

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data sets; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the real data sets (../shared/data) are not on this machine")
    return SHARED


@pytest.fixture(scope="session")
def digits() -> tuple[Dataset, Dataset]:
    """UCI handwritten digits from scikit-learn as (train, test): (N, 1, 8, 8) in [0, 1]."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    x = torch.tensor(raw.images, dtype=torch.float32).unsqueeze(1) / 16
    y = torch.tensor(raw.target, dtype=torch.long)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    whole = Dataset("digits", x[order], y[order], tuple("0123456789"))
    return whole.take(torch.arange(1200)), whole.take(torch.arange(1200, len(whole)))


def small_cnn() -> torch.nn.Module:
    """A digit classifier that trains in seconds."""
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 32, 3, stride=2, padding=1),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(32 * 16, 64),
        torch.nn.ReLU(),
        torch.nn.Linear(64, 10),
    )


@pytest.fixture(scope="session")
def recipe():
    """The recipe of `small_cnn`."""
    from holdfast.targets.training import ClassifierRecipe

    return ClassifierRecipe(small_cnn, epochs=12)


@pytest.fixture(scope="session")
def digit_target(recipe, digits):
    """A digit classifier trained without any defence."""
    return recipe.train(digits[0], seed=0)
