"""StyleGAN2's networks as written in the paper (arXiv 1912.04958), one operator at a time, as a baseline for ours.

Each sample has its own modulated and demodulated weight (eq. 1 and 3), which a grouped convolution applies. Filters,
gains, noise, bias and activation are separate passes over tensors in the default memory layout. The filter can be
written in two ways, which differ in speed: with each channel as a separate image, as in rosinality's networks and the
official pSp on a CPU, or as a depthwise convolution, as in NVIDIA's reference.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan2.networks.layers import minibatch_stddev

TAPS = (1.0, 3.0, 3.0, 1.0)
Filter = Callable[[Tensor, Tensor], Tensor]
"""x [N, C, H, W], kernel [4, 4] -> [N, C, H-3, W-3]"""


def by_channel(x: Tensor, kernel: Tensor) -> Tensor:
    """Filter with each channel as a separate image."""
    n, channels, height, width = x.shape
    x = F.conv2d(x.reshape(n * channels, 1, height, width), kernel[None, None])  # [N * C, 1, H-3, W-3]
    return x.reshape(n, channels, *x.shape[2:])


def depthwise(x: Tensor, kernel: Tensor) -> Tensor:
    """Filter with a depthwise convolution, one group per channel."""
    channels = x.shape[1]
    return F.conv2d(x, kernel.expand(channels, 1, 4, 4), groups=channels)


FILTERS: dict[str, Filter] = {"by_channel": by_channel, "depthwise": depthwise}


def synthesis(generator: Any, ws: Tensor, noise_mode: str = "const", fir: Filter = by_channel) -> Tensor:
    """Render images [N, img_channels, R, R] of codes [N, num_ws, w_dim] in the skip architecture.

    Args:
        generator: Our generator, whose weights are used.
        ws: The codes.
        noise_mode: "const" or "random".
        fir: The implementation of the filter.
    """
    g = generator.synthesis
    x = _styled(g.const.repeat(len(ws), 1, 1, 1), g.layers[0], ws[:, 0], noise_mode, fir)  # [N, C, 4, 4]
    image = _to_rgb(x, g.to_rgbs[0], ws[:, 1], fir)  # [N, img_channels, 4, 4]
    for block in range(1, len(g.to_rgbs)):
        x = _styled(x, g.layers[2 * block - 1], ws[:, 2 * block - 1], noise_mode, fir)  # [N, C, 2H, 2W]
        x = _styled(x, g.layers[2 * block], ws[:, 2 * block], noise_mode, fir)
        image = _upsampled(image, fir) + _to_rgb(x, g.to_rgbs[block], ws[:, 2 * block + 1], fir)
    return image


def discriminator(D: Any, images: Tensor, parts: int = 1, labels: None = None, fir: Filter = by_channel) -> Tensor:
    """Compute the logits [N, 1] of images [N, C, R, R] in the residual architecture, with our discriminator's weights.

    `parts` is the argument of our discriminator, and labels are not supported.
    """
    x = _convolved(images, D.from_rgbs[0], fir)  # [N, C', R, R]
    for block in D.blocks:
        y = _convolved(_convolved(x, block.conv0, fir), block.conv1, fir)  # [N, C', H/2, W/2]
        x = (y + _convolved(x, block.skip, fir)) / math.sqrt(2)
    x = minibatch_stddev(x, D.mbstd_group, D.mbstd_channels, parts)  # [N, C + F, 4, 4]
    return D.out(D.fc(_convolved(x, D.conv, fir).flatten(1)))  # [N, 1]


def _convolved(x: Tensor, layer: Any, fir: Filter) -> Tensor:
    """Apply a layer of the discriminator: filter, convolution with equalized learning rate, bias and activation."""
    kernel = layer.weight.shape[-1]
    weight = layer.weight / math.sqrt(layer.weight[0].numel())
    if layer.downsample:
        margin = (kernel + 1) // 2
        x = F.conv2d(_filtered(x, (margin, margin), fir, gain=1.0), weight, stride=2)  # [N, O, H/2, W/2]
    else:
        x = F.conv2d(x, weight, padding=kernel // 2)  # [N, O, H, W]
    if layer.bias is not None:
        x = x + layer.bias.reshape(1, -1, 1, 1)
    return F.leaky_relu(x, 0.2) * math.sqrt(2) if layer.activate else x


def _styled(x: Tensor, layer: Any, w: Tensor, noise_mode: str, fir: Filter) -> Tensor:
    x = _modulated(x, layer.weight, layer.affine(w), True, layer.upsample, fir)
    x = x + layer.noise_strength * layer.noise(x, noise_mode)
    x = x + layer.bias.reshape(1, -1, 1, 1)
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


def _to_rgb(x: Tensor, layer: Any, w: Tensor, fir: Filter) -> Tensor:
    return _modulated(x, layer.weight, layer.affine(w), False, False, fir) + layer.bias.reshape(1, -1, 1, 1)


def _modulated(x: Tensor, weight: Tensor, styles: Tensor, demodulate: bool, upsample: bool, fir: Filter) -> Tensor:
    n, channels, height, width = x.shape
    out, _, kernel, _ = weight.shape
    weight = weight.contiguous() / math.sqrt(channels * kernel**2)
    weight = weight[None] * styles.reshape(n, 1, channels, 1, 1)  # [N, O, I, k, k]
    if demodulate:
        weight = weight * torch.rsqrt(weight.square().sum([2, 3, 4]) + 1e-8).reshape(n, out, 1, 1, 1)
    x = x.reshape(1, n * channels, height, width)  # [1, N * I, H, W]
    if upsample:
        weight = weight.transpose(1, 2).reshape(n * channels, out, kernel, kernel)  # [N * I, O, k, k]
        x = F.conv_transpose2d(x, weight, stride=2, groups=n)  # [1, N * O, 2H+1, 2W+1]
        return _filtered(x.reshape(n, out, *x.shape[2:]), (1, 1), fir)  # [N, O, 2H, 2W]
    x = F.conv2d(x, weight.reshape(n * out, channels, kernel, kernel), padding=kernel // 2, groups=n)
    return x.reshape(n, out, height, width)


def _filtered(x: Tensor, padding: tuple[int, int], fir: Filter, gain: float = 4.0) -> Tensor:
    """Pad and apply the low-pass filter."""
    taps = torch.tensor(TAPS, dtype=x.dtype, device=x.device)
    kernel = torch.outer(taps, taps) * (gain / taps.sum() ** 2)  # [4, 4]
    return fir(F.pad(x, padding * 2), kernel)


def _upsampled(x: Tensor, fir: Filter) -> Tensor:
    """Upsample by inserting a zero after every row and column and filtering: [N, C, 2H, 2W]."""
    n, channels, height, width = x.shape
    spread = F.pad(x.reshape(n, channels, height, 1, width, 1), (0, 1, 0, 0, 0, 1))
    return _filtered(spread.reshape(n, channels, 2 * height, 2 * width), (2, 1), fir)
