"""Triton kernels for CUDA: each reads and writes channels_last memory once and sums in float32.

Triton comes with PyTorch's wheels for Linux and compiles at the first call; where it is missing, this package cannot be
imported, and `stylegan2.ops.dispatch` says so. On its first use Triton also builds its connection to the driver, which
needs a C compiler and Python's header files. Tensors are [N, C, H, W] stored as [N, H, W, C]. Where the channels of a
pixel are a multiple of 16 bytes, loads and stores move 16 bytes; `quantum` is the number of channels moved at a time.
Offsets within a tile are 32-bit integers, offsets of rows and samples 64-bit.
"""

import torch

from stylegan2.ops.kernels.epilogue import apply_epilogue, epilogue_gradients
from stylegan2.ops.kernels.fir import resample

__all__ = ["apply_epilogue", "epilogue_gradients", "resample", "try_out"]


def try_out(device: torch.device) -> None:
    """Compile and run the smallest kernel on a GPU, which raises Triton's error if it cannot be compiled there."""
    x = torch.zeros(1, 1, 1, 1, device=device)  # [N, C, H, W]
    apply_epilogue(x, None, None, None, slope=1.0, clamp=None)
