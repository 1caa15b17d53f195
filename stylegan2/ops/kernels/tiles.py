"""Divide a tensor [N, C, H, W] that is stored as [N, H, W, C] into tiles of pixels and channels for the kernels."""

import math

import torch
import triton
from torch import Tensor

THREADS = 128  # four warps


def quantum_of(channels: int, itemsize: int) -> int:
    """Return the largest power of two, at most 16 bytes, that divides the channels."""
    return math.gcd(channels, 16 // itemsize)


def blocks_of(channels: int, itemsize: int) -> tuple[int, int]:
    """Return the pixels and channels of a tile in which each thread holds 16 bytes, at most a cache line per pixel.

    A tile with many pixels shares more of them between the taps of a filter, and wide networks need only one
    compilation.
    """
    dividing = channels & -channels  # the largest power of two that divides the channels
    wanted = dividing if dividing >= 32 else triton.next_power_of_2(channels)  # leaves at most a few lanes idle
    block_channels = min(128 // itemsize, wanted)
    return max(1, THREADS * (16 // itemsize) // block_channels), block_channels


def channels_last(x: Tensor) -> Tensor:
    """Return x stored densely as [N, H, W, C], copied only if it is not."""
    return x.contiguous(memory_format=torch.channels_last)
