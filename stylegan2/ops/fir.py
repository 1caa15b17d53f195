"""Low-pass filtering and resampling, a linear map whose transpose is a map of the same kind.

Its derivatives of any order are therefore the same operator with upsampling and downsampling exchanged. Automatic
differentiation of a depthwise convolution would loop over the channels in its second derivative.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan2.ops.dispatch import PLAIN_TYPES, full_precision, kernels_for

FIR_TAPS = (1.0, 3.0, 3.0, 1.0)  # StyleGAN2's low-pass filter
BINOMIAL_TAPS = (1.0, 2.0, 1.0)  # StyleGAN's


def fir_kernel(channels: int, gain: float, like: Tensor, taps: tuple[float, ...] = FIR_TAPS) -> Tensor:
    """Return the separable low-pass filter as a depthwise weight [channels, 1, k, k] that sums to `gain`."""
    line = torch.tensor(taps, dtype=like.dtype, device=like.device)
    kernel = torch.outer(line, line) * (gain / line.sum() ** 2)  # [k, k]
    return kernel.expand(channels, 1, *kernel.shape)


def blur(x: Tensor, padding: int, gain: float = 1.0, bias: Tensor | None = None) -> Tensor:
    """Low-pass x [N, C, H, W], zero-padded by `padding` on every side, then add a bias [C]."""
    grown = 2 * padding - len(FIR_TAPS) + 1
    size = (x.shape[2] + grown, x.shape[3] + grown)
    return resample(x, Resampling(FIR_TAPS, gain, 1, 1, (padding, padding), size), bias)


def upsample2x(x: Tensor) -> Tensor:
    """Insert zeros, then low-pass with gain 4 (StyleGAN2, appendix B): [N, C, H, W] -> [N, C, 2H, 2W]."""
    return resample(x, Resampling(FIR_TAPS, 4.0, 2, 1, (2, 2), (2 * x.shape[2], 2 * x.shape[3])))


def downsample2x(x: Tensor) -> Tensor:
    """Low-pass, then keep every second pixel: [N, C, H, W] -> [N, C, H/2, W/2]."""
    return resample(x, Resampling(FIR_TAPS, 1.0, 1, 2, (1, 1), (x.shape[2] // 2, x.shape[3] // 2)))


def binomial_blur(x: Tensor) -> Tensor:
    """Low-pass [N, C, H, W] with [1, 2, 1] in each direction (StyleGAN, section 2.1: bilinear sampling)."""
    return resample(x, Resampling(BINOMIAL_TAPS, 1.0, 1, 1, (1, 1), (x.shape[2], x.shape[3])))


class Resampling(NamedTuple):
    """The parameters of a resampling: insert zeros, pad with zeros, filter, keep every `down`-th pixel.

    y[o] = sum over k of weights[k] z[o * down + k - start] along each axis, where z[i * up] = x[i] and all else is 0;
    weights = taps * sqrt(gain) / sum(taps).
    """

    taps: tuple[float, ...]
    """the filter along one axis; symmetric, so that correlation and convolution are the same"""
    gain: float
    """gain of both axes together"""
    up: int
    down: int
    start: tuple[int, int]
    """zeros before the first row and column; negative where rows or columns are cut off"""
    size: tuple[int, int]
    """size of the result, which determines how many zeros follow the last row and column"""

    def transposed(self, size: tuple[int, int]) -> "Resampling":
        """Return the transpose of this linear map on images of `size`."""
        last = len(self.taps) - 1
        start = (last - self.start[0], last - self.start[1])
        return Resampling(self.taps, self.gain, self.down, self.up, start, size)


def resample(x: Tensor, resampling: Resampling, bias: Tensor | None = None) -> Tensor:
    """Resample x [N, C, H, W] to [N, C, *size], then add a bias [C]; the type of x is kept, also under autocast.

    The result is deterministic on every device and differentiable to any order.
    """
    if not (torch.is_grad_enabled() and (x.requires_grad or (bias is not None and bias.requires_grad))):
        return _resample(x, resampling, bias)
    y = _Resample.apply(x, resampling)
    return y if bias is None else y + bias[:, None, None].to(y.dtype)


class _Resample(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, resampling: Resampling) -> Tensor:
        ctx.resampling, ctx.size = resampling, x.shape[2:]
        return _resample(x, resampling, None)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return resample(grad, ctx.resampling.transposed(ctx.size)), None


def _resample(x: Tensor, resampling: Resampling, bias: Tensor | None) -> Tensor:
    kernels = kernels_for(x)
    if kernels is not None:
        y = kernels.resample(x, *resampling)
        return y if bias is None else y.add_(bias[:, None, None])
    with full_precision(x):
        return _depthwise(x, resampling, bias)


def _depthwise(x: Tensor, resampling: Resampling, bias: Tensor | None) -> Tensor:
    """Resample by depthwise convolutions, which a CPU computes faster in channels_last and CUDA does not."""
    taps, gain, up, down, start, size = resampling
    if type(x) in PLAIN_TYPES:
        weight = _kept_kernel(x.shape[1], gain, x.dtype, x.device, taps)  # [C, 1, k, k]
    else:
        weight = fir_kernel(x.shape[1], gain, x, taps)  # [C, 1, k, k]
    bias = None if bias is None else bias.to(x.dtype)
    if not x.is_cuda:
        return _correlate(x, weight, down, start, size, bias) if up == 1 else _transposed(x, weight, resampling, bias)
    layout = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    x = _insert_zeros(x.contiguous(), up)  # [N, C, up H, up W]; a transposed convolution takes three times as long
    return _correlate(x, weight, down, start, size, bias).contiguous(memory_format=layout)


@lru_cache
def _kept_kernel(
    channels: int, gain: float, dtype: torch.dtype, device: torch.device, taps: tuple[float, ...]
) -> Tensor:
    """Return a cached `fir_kernel`; making one takes as long as filtering a small image."""
    with torch.inference_mode(False), torch.no_grad():
        return fir_kernel(channels, gain, torch.empty(0, dtype=dtype, device=device), taps).contiguous()


def _correlate(
    x: Tensor, weight: Tensor, down: int, start: tuple[int, int], size: tuple[int, int], bias: Tensor | None
) -> Tensor:
    """Apply a resampling without upsampling: [N, C, H, W] -> [N, C, *size]."""
    k = weight.shape[-1]
    need = [(out - 1) * down + k - before - side for out, before, side in zip(size, start, x.shape[2:], strict=True)]
    # The size that equal padding on the other side would give; if it is the same, no padded copy is needed.
    even = [(side + 2 * before - k) // down + 1 for before, side in zip(start, x.shape[2:], strict=True)]
    if min(start) >= 0 and tuple(even) == tuple(size):
        return F.conv2d(x, weight, bias, down, start, groups=x.shape[1])
    x = F.pad(x, (start[1], need[1], start[0], need[0]))
    return F.conv2d(x, weight, bias, down, groups=x.shape[1])


def _transposed(x: Tensor, weight: Tensor, resampling: Resampling, bias: Tensor | None) -> Tensor:
    """Apply a resampling by a transposed convolution, which inserts the zeros: [N, C, H, W] -> [N, C, *size]."""
    _, _, up, down, start, size = resampling
    crop = [weight.shape[-1] - 1 - before for before in start]
    whole = [(side - 1) * up + weight.shape[-1] for side in x.shape[2:]]
    more = [out - (full - 2 * cut) for out, full, cut in zip(size, whole, crop, strict=True)]
    if down == 1 and min(crop) >= 0 and min(more) >= 0 and max(more) < up:
        return F.conv_transpose2d(x, weight, bias, up, crop, more, groups=x.shape[1])
    return _correlate(_insert_zeros(x, up), weight, down, start, size, bias)


def _insert_zeros(x: Tensor, up: int) -> Tensor:
    """Insert up - 1 zeros after each pixel along each axis: [N, C, H, W] -> [N, C, up H, up W]."""
    if up == 1:
        return x
    n, c, h, w = x.shape
    layout = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    y = torch.zeros((n, c, h * up, w * up), dtype=x.dtype, device=x.device).contiguous(memory_format=layout)
    y[:, :, ::up, ::up] = x
    return y
