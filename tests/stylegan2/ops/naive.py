"""The operators written out in float64, each formula as its paper has it."""

import math

import torch
from torch import Tensor


def resampled(x: Tensor, taps, gain: float, up: int, down: int, start, size) -> Tensor:
    """Insert zeros, filter, keep every `down`-th pixel, by two matrices. [N, C, H, W] -> [N, C, *size]."""
    rows, columns = (
        filter_matrix(taps, math.sqrt(gain), up, down, before, side, out).to(x)
        for before, side, out in zip(start, x.shape[2:], size, strict=True)
    )
    return rows @ x @ columns.t()


def filter_matrix(taps, gain: float, up: int, down: int, start: int, side: int, out: int) -> Tensor:
    """[out, side]: each product of the definition, one after the other."""
    matrix = torch.zeros(out, side, dtype=torch.float64)
    for o in range(out):
        for k, weight in enumerate(taps):
            i, rest = divmod(o * down + k - start, up)
            if rest == 0 and 0 <= i < side:
                matrix[o, i] += weight * gain / sum(taps)
    return matrix


def epilogue(x: Tensor, scale=None, noise=None, bias=None, activate=True, clamp=None) -> Tensor:
    """clamp(lrelu(x * scale + noise + bias))."""
    if scale is not None:
        x = x * scale[:, :, None, None]
    if noise is not None:
        x = x + noise
    if bias is not None:
        x = x + bias[:, None, None]
    if activate:
        x = torch.where(x > 0, x, 0.2 * x)
    return x if clamp is None else torch.where(x.abs() < clamp, x, x.detach().sign() * clamp)
