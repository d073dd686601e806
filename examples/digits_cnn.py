"""A small CNN for the 8 x 8 digits of scikit-learn: the model of the README.

holdfast assess --model examples/digits_cnn.py:build --weights digits.safetensors --data digits

`build` is all that Holdfast needs: a function without arguments that returns a fresh, untrained
`nn.Module`, which maps images (N, 1, 8, 8) in [0, 1] to logits (N, 10). It has 38,282 parameters
and trains in seconds on a CPU. Normalisation would be a layer of the model, not a step before it.
"""

from torch import nn


def build() -> nn.Module:
    """Two convolutions and two linear layers."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),  # (N, 16, 8, 8)
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),  # (N, 32, 4, 4)
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 64),  # the 64 values that Holdfast calls features
        nn.ReLU(),
        nn.Linear(64, 10),
    )
