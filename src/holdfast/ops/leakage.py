"""What the gradient of a loss gives away exactly, without any search."""

import torch
from torch import Tensor


def label_from_bias(gradient: Tensor) -> Tensor:
    """Label of a batch of one from the gradient of the last layer's bias, (K,) -> ().

    d cross-entropy / d b_i = p_i - [i = y], which is negative for the true class alone (Zhao et
    al. 2020, sec. 3).
    """
    return gradient.argmin()


def input_from_linear(weight: Tensor, bias: Tensor) -> Tensor:
    """Input of a fully connected layer from its gradients (H, D), (H,) for a batch of one -> (D,).

    d l / d W_i = (d l / d b_i) x, so x is the quotient for any unit i whose bias gradient is not
    zero; the unit with the largest one rounds least (Geiping et al. 2020, prop. 3.1).
    """
    unit = bias.abs().argmax()
    return weight[unit] / bias[unit] if bias[unit] != 0 else torch.zeros_like(weight[0])
