"""Decide where the Triton kernels run: on CUDA, if Triton is installed; elsewhere every operator has a plain form."""

import warnings
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from types import ModuleType

import torch
from torch import Tensor, nn

PLAIN_TYPES = (
    Tensor,
    nn.Parameter,
)  # only these have memory; fake tensors and other subclasses use the plain implementation
OLDEST_CAPABILITY = (7, 5)  # the oldest GPU for which the kernels are compiled in the tests


def kernels_for(x: Tensor) -> ModuleType | None:
    """Return `stylegan2.ops.kernels` if it can compute with x, else None."""
    return _kernels(x.device) if x.is_cuda and x.is_floating_point() and type(x) in PLAIN_TYPES else None


@lru_cache
def _kernels(device: torch.device) -> ModuleType | None:
    """Look for the kernels once per device, and report once that Triton is missing."""
    try:
        from stylegan2.ops import kernels
    except ImportError:
        warnings.warn(
            "Triton is not installed: filters and activations on CUDA take several times as long without its kernels",
            stacklevel=2,
        )
        return None
    return kernels if torch.cuda.get_device_capability(device) >= OLDEST_CAPABILITY else None


def full_precision(x: Tensor) -> AbstractContextManager:
    """Return a context in which autocast is off.

    Styles are computed in it: they take little time, and their rounding scales whole feature maps. In a 256 px
    generator in bfloat16 it would cause 60 % of the difference from float32.
    """
    on = not x.is_meta and torch.is_autocast_enabled(x.device.type)
    return torch.autocast(x.device.type, enabled=False) if on else nullcontext()
