"""Resampling by 2 without a filter of its own, alone and merged with a 3x3 convolution."""

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan2.ops.convolution import conv2d, conv_transpose2d


def nearest_upsample2x(x: Tensor) -> Tensor:
    """Each pixel four times (PGGAN, section 2). [N, C, H, W] -> [N, C, 2H, 2W]."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def average_downsample2x(x: Tensor) -> Tensor:
    """The mean of every 2x2 pixels (PGGAN, section 2). [N, C, H, W] -> [N, C, H/2, W/2]."""
    return F.avg_pool2d(x, 2)


def upsample_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`nearest_upsample2x`, then a 3x3 convolution: one transposed convolution of 4x4, with 16 products for 36.

    x [N, I, H, W], weight [O, I, 3, 3], bias [O] -> [N, O, 2H, 2W].
    """
    weight = _sum_of_shifts(weight).flip(2, 3).transpose(0, 1)  # [I, O, 4, 4]
    weight = weight.contiguous(memory_format=torch.channels_last)
    return conv_transpose2d(x, weight, bias, stride=2, padding=1)  # [N, O, 2H, 2W]


def downsample_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A 3x3 convolution, then `average_downsample2x`: one convolution of 4x4 with stride 2, with 16 products for 36.

    x [N, I, H, W], weight [O, I, 3, 3], bias [O] -> [N, O, H/2, W/2].
    """
    return conv2d(x, _sum_of_shifts(weight) / 4, bias, stride=2, padding=1)  # [N, O, H/2, W/2]


def _sum_of_shifts(weight: Tensor) -> Tensor:
    """A kernel [O, I, 3, 3] at the four places of a 2x2 block, summed: [O, I, 4, 4]."""
    padded = F.pad(weight, (1, 1, 1, 1))  # [O, I, 5, 5]
    return padded[..., 1:, 1:] + padded[..., :-1, 1:] + padded[..., 1:, :-1] + padded[..., :-1, :-1]
