"""What follows a convolution: noise, bias, leaky ReLU, clamp."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

LRELU_SLOPE = 0.2
LRELU_GAIN = math.sqrt(2)  # keeps the variance of a unit Gaussian that passes a leaky ReLU


def leaky_relu(x: Tensor) -> Tensor:
    """Leaky ReLU without its gain: callers fold sqrt(2) into the scale before it, as a * lrelu(x) = lrelu(a * x).

    Where no gradient is wanted x is overwritten.
    """
    return F.leaky_relu(x, LRELU_SLOPE, inplace=not torch.is_grad_enabled())


def add_noise(x: Tensor, noise: Tensor) -> Tensor:
    """x [N, C, H, W] + noise [H, W] or [N, 1, H, W]; where no gradient is wanted x is overwritten."""
    return x + noise if torch.is_grad_enabled() else x.add_(noise)
