"""The few operators of the family, in plain PyTorch: FIR resampling, modulated convolution, bias with activation.

All are twice differentiable (R1 and path length need that) and run on every device without compilation.
"""

import math
from contextlib import AbstractContextManager, nullcontext

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


def blur(x: Tensor, padding: int, gain: float = 1.0, stride: int = 1, bias: Tensor | None = None) -> Tensor:
    """Low-pass filter [N, C, H, W], zero-padded by `padding` on every side; then a bias [C]."""
    channels = x.shape[1]
    return F.conv2d(x, fir_kernel(channels, gain, x), bias, stride, padding, groups=channels)


def upsample2x(x: Tensor) -> Tensor:
    """Insert zeros, then low-pass with gain 4 (StyleGAN2, appendix B)."""
    channels = x.shape[1]
    kernel = fir_kernel(channels, 4.0, x)  # symmetric, so a transposed convolution needs no flip
    return F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=channels)  # [N, C, 2H, 2W]


def downsample2x(x: Tensor) -> Tensor:
    """Low-pass, then keep every second pixel."""
    return blur(x, padding=1, stride=2)  # [N, C, H/2, W/2]


def nearest_upsample2x(x: Tensor) -> Tensor:
    """Each pixel four times (PGGAN, section 2). [N, C, H, W] -> [N, C, 2H, 2W]."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def average_downsample2x(x: Tensor) -> Tensor:
    """The mean of every 2x2 pixels (PGGAN, section 2). [N, C, H, W] -> [N, C, H/2, W/2]."""
    return F.avg_pool2d(x, 2)


def binomial_blur(x: Tensor) -> Tensor:
    """Low-pass [N, C, H, W] with [1, 2, 1] in each direction (StyleGAN, section 2.1: bilinear sampling)."""
    taps = torch.tensor((1.0, 2.0, 1.0), dtype=x.dtype, device=x.device)
    kernel = torch.outer(taps, taps) / taps.sum() ** 2  # [3, 3]
    return F.conv2d(x, kernel.expand(x.shape[1], 1, 3, 3), padding=1, groups=x.shape[1])


def upsample_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`nearest_upsample2x`, then a 3x3 convolution: one transposed convolution of 4x4, with 16 products for 36.

    x [N, I, H, W], weight [O, I, 3, 3], bias [O] -> [N, O, 2H, 2W].
    """
    weight = _sum_of_shifts(weight).flip(2, 3).transpose(0, 1)  # [I, O, 4, 4]
    weight = weight.contiguous(memory_format=torch.channels_last)
    return F.conv_transpose2d(x, weight, bias, stride=2, padding=1)  # [N, O, 2H, 2W]


def downsample_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A 3x3 convolution, then `average_downsample2x`: one convolution of 4x4 with stride 2, with 16 products for 36.

    x [N, I, H, W], weight [O, I, 3, 3], bias [O] -> [N, O, H/2, W/2].
    """
    return F.conv2d(x, _sum_of_shifts(weight) / 4, bias, stride=2, padding=1)  # [N, O, H/2, W/2]


def _sum_of_shifts(weight: Tensor) -> Tensor:
    """A kernel [O, I, 3, 3] at the four places of a 2x2 block, summed: [O, I, 4, 4]."""
    padded = F.pad(weight, (1, 1, 1, 1))  # [O, I, 5, 5]
    return padded[..., 1:, 1:] + padded[..., :-1, 1:] + padded[..., 1:, :-1] + padded[..., :-1, :-1]


def leaky_relu(x: Tensor) -> Tensor:
    """Leaky ReLU without its gain: callers fold sqrt(2) into the scale before it, as a * lrelu(x) = lrelu(a * x).

    Where no gradient is wanted x is overwritten.
    """
    return F.leaky_relu(x, LRELU_SLOPE, inplace=not torch.is_grad_enabled())


def add_noise(x: Tensor, noise: Tensor) -> Tensor:
    """x [N, C, H, W] + noise [H, W] or [N, 1, H, W]; where no gradient is wanted x is overwritten."""
    return x + noise if torch.is_grad_enabled() else x.add_(noise)


def full_precision(x: Tensor) -> AbstractContextManager:
    """Where autocast is on, styles are computed as they are stored: small work, and its rounding scales whole maps.

    On a 256 px generator in bfloat16 it makes 60 % of the difference to float32.
    """
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


def demodulation(weight: Tensor, styles: Tensor, eps: float = 1e-8) -> Tensor:
    """StyleGAN2 eq. 3: 1 / sqrt(sum_{i,k} (s_i w_ijk)^2 + eps), without building a weight per sample.

    weight [O, I, k, k] and styles [N, I] give factors [N, O].
    """
    with full_precision(styles):
        energy = weight.square().sum([2, 3])  # [O, I]
        return (styles.square() @ energy.t() + eps).rsqrt()  # [N, O]


def modulated_conv2d(
    x: Tensor, weight: Tensor, styles: Tensor, scale: Tensor, bias: Tensor, upsample: bool = False
) -> Tensor:
    """StyleGAN2 eq. 1, then a factor for each output channel (demodulation and gains) and a bias.

    Many samples share one weight, as scaling the input channels equals scaling the weight. For a single one without
    gradients all factors go into its own weight, which saves two passes over the feature maps.

    Args:
        x: [N, I, H, W].
        weight: [O, I, k, k].
        styles: [N, I], times the equalized-learning-rate factor of the weight.
        scale: [N, O] or [1, O].
        bias: [O].
        upsample: transposed convolution with stride 2, followed by the low-pass filter of gain 4.

    Returns:
        [N, O, H, W], or [N, O, 2H, 2W] when upsampling.
    """
    if len(x) == 1 and not torch.is_grad_enabled():
        factors = scale.t() * styles  # [O, I]
        weight = (weight * factors[:, :, None, None]).to(x.dtype)
        return _convolution(x, weight, bias.to(x.dtype), upsample)
    if x.dtype == torch.float16:
        styles = styles.to(x.dtype)  # bfloat16 would round them too coarsely: it has 8 bits where float16 has 11
    x = _convolution((x * styles[:, :, None, None]).to(x.dtype), weight.to(x.dtype), None, upsample)
    return torch.addcmul(bias[:, None, None].to(x.dtype), x, scale[:, :, None, None].to(x.dtype))  # one pass for both


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, upsample: bool) -> Tensor:
    """[N, I, H, W] and weight [O, I, k, k] -> [N, O, H, W], or [N, O, 2H, 2W]."""
    if not upsample:
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)
    # A dense copy: kernels on a CPU take up to four times as long with a transposed view.
    weight = weight.transpose(0, 1).contiguous(memory_format=torch.channels_last)  # [I, O, k, k]
    x = F.conv_transpose2d(x, weight, stride=2)  # [N, O, 2H+1, 2W+1]
    return blur(x, padding=1, gain=4.0, bias=bias)  # [N, O, 2H, 2W]
