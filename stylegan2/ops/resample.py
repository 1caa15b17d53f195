"""Resample without a low-pass filter: by 2, alone or merged with a 3x3 convolution, and to any size.

On CUDA, PyTorch's gradients of pooling and interpolation to any size add up in an order that changes from run to run.
Where deterministic algorithms are required, both are products with one small matrix for rows and one for columns.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan2.ops.convolution import conv2d, conv_transpose2d
from stylegan2.ops.dispatch import full_precision


def nearest_upsample2x(x: Tensor) -> Tensor:
    """Repeat each pixel four times (PGGAN, section 2): [N, C, H, W] -> [N, C, 2H, 2W]."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def average_downsample2x(x: Tensor) -> Tensor:
    """Average each 2x2 pixels (PGGAN, section 2): [N, C, H, W] -> [N, C, H/2, W/2]."""
    return F.avg_pool2d(x, 2)


def upsample_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute `nearest_upsample2x` and a 3x3 convolution as one transposed 4x4 convolution, with 16 products for 36.

    x [N, I, H, W], weight [O, I, 3, 3], bias [O] -> [N, O, 2H, 2W].
    """
    weight = _sum_of_shifts(weight).flip(2, 3).transpose(0, 1)  # [I, O, 4, 4]
    weight = weight.contiguous(memory_format=torch.channels_last)
    return conv_transpose2d(x, weight, bias, stride=2, padding=1)  # [N, O, 2H, 2W]


def downsample_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute a 3x3 convolution and `average_downsample2x` as one 4x4 convolution of stride 2, with 16 products for 36.

    x [N, I, H, W], weight [O, I, 3, 3], bias [O] -> [N, O, H/2, W/2].
    """
    return conv2d(x, _sum_of_shifts(weight) / 4, bias, stride=2, padding=1)  # [N, O, H/2, W/2]


def _sum_of_shifts(weight: Tensor) -> Tensor:
    """Sum a kernel [O, I, 3, 3] at the four positions of a 2x2 block: [O, I, 4, 4]."""
    padded = F.pad(weight, (1, 1, 1, 1))  # [O, I, 5, 5]
    return padded[..., 1:, 1:] + padded[..., :-1, 1:] + padded[..., 1:, :-1] + padded[..., :-1, :-1]


def area_downsample(x: Tensor, size: int) -> Tensor:
    """Average over areas, as adaptive average pooling does: [N, C, H, W] -> [N, C, size, size]."""
    rows, columns = x.shape[2:]
    if rows % size == 0 and columns % size == 0:
        return F.avg_pool2d(x, (rows // size, columns // size))  # [N, C, size, size]
    if torch.are_deterministic_algorithms_enabled():
        return _by_matrices(x, _area_matrix(rows, size, x.device), _area_matrix(columns, size, x.device))
    return F.adaptive_avg_pool2d(x, size)  # [N, C, size, size]


def bilinear_upsample(x: Tensor, height: int, width: int) -> Tensor:
    """Interpolate bilinearly with aligned corners: [N, C, H, W] -> [N, C, height, width]."""
    if torch.are_deterministic_algorithms_enabled():
        rows, columns = x.shape[2:]
        return _by_matrices(x, _bilinear_matrix(rows, height, x.device), _bilinear_matrix(columns, width, x.device))
    return F.interpolate(x, (height, width), mode="bilinear", align_corners=True)  # [N, C, height, width]


def _by_matrices(x: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Multiply x [N, C, H, W] by down [h, H] and across [w, W]: [N, C, h, w] in the type of x, with float32 sums."""
    wide = x if x.dtype == torch.float64 else x.float()
    with full_precision(x):
        y = down.to(wide.dtype) @ (wide @ across.to(wide.dtype).T)  # [N, C, h, w]
    return y.to(x.dtype, memory_format=torch.channels_last)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # a tensor created in inference mode could not be used in a later training step
def _area_matrix(size: int, out_size: int, device: torch.device) -> Tensor:
    """Return the weights [out_size, size], float64, that average the input pixels under each output pixel."""
    first = torch.arange(out_size) * size // out_size
    end = -(-(torch.arange(out_size) + 1) * size // out_size)  # rounded up
    pixel = torch.arange(size)
    inside = (pixel >= first[:, None]) & (pixel < end[:, None])  # [out_size, size]
    return (inside.double() / (end - first)[:, None]).to(device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _bilinear_matrix(size: int, out_size: int, device: torch.device) -> Tensor:
    """Return the weights [out_size, size], float64, of linear interpolation that keeps the first and last pixels."""
    place = torch.arange(out_size, dtype=torch.float64) * ((size - 1) / max(out_size - 1, 1))
    distance = (place[:, None] - torch.arange(size)).abs()  # [out_size, size]
    return (1 - distance).clamp(min=0).to(device)
