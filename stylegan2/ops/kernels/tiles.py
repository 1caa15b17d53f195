"""How the kernels share out a tensor [N, C, H, W] that is stored as [N, H, W, C]: tiles of pixels and channels."""

import math

import torch
import triton
from torch import Tensor

THREADS = 128  # four warps


def quantum_of(channels: int, itemsize: int) -> int:
    """The largest power of two, at most 16 bytes, that divides the channels."""
    return math.gcd(channels, 16 // itemsize)


def blocks_of(channels: int, itemsize: int) -> tuple[int, int]:
    """Pixels and channels of a tile in which each thread holds 16 bytes; of a pixel at most 128, a cache line.

    A filter's tile that is long in pixels shares more of them among its taps, and wide networks need one compilation.
    """
    dividing = channels & -channels  # the largest power of two that divides the channels
    wanted = dividing if dividing >= 32 else triton.next_power_of_2(channels)  # at most a few idle lanes
    block_channels = min(128 // itemsize, wanted)
    return max(1, THREADS * (16 // itemsize) // block_channels), block_channels


def channels_last(x: Tensor) -> Tensor:
    """Dense as [N, H, W, C]; a copy only where it is not."""
    return x.contiguous(memory_format=torch.channels_last)
