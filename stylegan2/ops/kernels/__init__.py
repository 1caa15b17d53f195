"""Triton kernels for CUDA: each reads and writes channels_last memory once and sums in float32.

Triton comes with PyTorch's wheels for Linux and compiles at the first call; where it is missing, this package cannot be
imported, and `stylegan2.ops.dispatch` says so. Tensors are [N, C, H, W] stored as [N, H, W, C]. Where the channels of a
pixel are a multiple of 16 bytes, loads and stores move 16 bytes; `quantum` is the number of channels moved at a time.
Offsets within a tile are 32-bit integers, offsets of rows and samples 64-bit.
"""

from stylegan2.ops.kernels.epilogue import apply_epilogue, epilogue_gradients
from stylegan2.ops.kernels.fir import resample

__all__ = ["apply_epilogue", "epilogue_gradients", "resample"]
