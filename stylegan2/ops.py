"""The few operators of the family, in plain PyTorch: FIR resampling, modulated convolution, bias with activation.

All are twice differentiable (R1 and path length need that) and run on every device without compilation.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

LRELU_SLOPE = 0.2
LRELU_GAIN = math.sqrt(2)  # keeps the variance of a unit Gaussian that passes a leaky ReLU
FIR_TAPS = (1.0, 3.0, 3.0, 1.0)  # StyleGAN2's low-pass filter


def fir_kernel(channels: int, gain: float, like: Tensor) -> Tensor:
    """The separable low-pass filter as a depthwise weight [channels, 1, 4, 4] that sums to `gain`."""
    taps = torch.tensor(FIR_TAPS, dtype=like.dtype, device=like.device)
    kernel = torch.outer(taps, taps) * (gain / taps.sum() ** 2)  # [4, 4]
    return kernel.expand(channels, 1, *kernel.shape)


def blur(x: Tensor, padding: int, gain: float = 1.0, stride: int = 1) -> Tensor:
    """Low-pass filter [N, C, H, W], zero-padded by `padding` on every side."""
    channels = x.shape[1]
    return F.conv2d(x, fir_kernel(channels, gain, x), stride=stride, padding=padding, groups=channels)


def upsample2x(x: Tensor) -> Tensor:
    """Insert zeros, then low-pass with gain 4 (StyleGAN2, appendix B)."""
    channels = x.shape[1]
    kernel = fir_kernel(channels, 4.0, x)  # symmetric, so a transposed convolution needs no flip
    return F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=channels)  # [N, C, 2H, 2W]


def downsample2x(x: Tensor) -> Tensor:
    """Low-pass, then keep every second pixel."""
    return blur(x, padding=1, stride=2)  # [N, C, H/2, W/2]


def leaky_relu(x: Tensor) -> Tensor:
    """Leaky ReLU without its gain: callers fold sqrt(2) into the scale before it, as a * lrelu(x) = lrelu(a * x)."""
    return F.leaky_relu(x, LRELU_SLOPE)


def demodulation(weight: Tensor, styles: Tensor, eps: float = 1e-8) -> Tensor:
    """StyleGAN2 eq. 3: 1 / sqrt(sum_{i,k} (s_i w_ijk)^2 + eps), without building a weight per sample.

    weight [O, I, k, k] and styles [N, I] give factors [N, O].
    """
    energy = weight.square().sum([2, 3])  # [O, I]
    return (styles.square() @ energy.t() + eps).rsqrt()  # [N, O]


def modulated_conv2d(x: Tensor, weight: Tensor, styles: Tensor, upsample: bool = False) -> Tensor:
    """StyleGAN2 eq. 1 with one shared weight: scaling the input channels equals scaling the weight.

    Args:
        x: [N, I, H, W].
        weight: [O, I, k, k], already scaled by its equalized-learning-rate factor.
        styles: [N, I].
        upsample: transposed convolution with stride 2, followed by the low-pass filter of gain 4.

    Returns:
        [N, O, H, W], or [N, O, 2H, 2W] when upsampling; not demodulated: multiply by `demodulation(...)`.
    """
    x = x * styles[:, :, None, None]
    if not upsample:
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)  # [N, O, 2H+1, 2W+1]
    return blur(x, padding=1, gain=4.0)  # [N, O, 2H, 2W]
