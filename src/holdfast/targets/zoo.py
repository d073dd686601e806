"""Small untrained architectures for the demonstration and for tests."""

from torch import nn


def digits_cnn() -> nn.Module:
    """A CNN for 8 x 8 grey digits, (N, 1, 8, 8) -> (N, 10): 38 thousand parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )
