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
SLOWER = "filters and activations on CUDA take several times as long without its kernels"


def kernels_for(x: Tensor) -> ModuleType | None:
    """Return `stylegan2.ops.kernels` if it can compute with x, else None."""
    return _kernels(x.device) if x.is_cuda and x.is_floating_point() and type(x) in PLAIN_TYPES else None


@lru_cache
def _kernels(device: torch.device) -> ModuleType | None:
    """Look for the kernels once per device, and report once why they cannot be used."""
    try:
        from stylegan2.ops import kernels
    except ImportError:
        warnings.warn(f"Triton is not installed: {SLOWER}", stacklevel=2)
        return None
    if torch.cuda.get_device_capability(device) < OLDEST_CAPABILITY:
        return None
    try:
        kernels.try_out(device)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # no compiler, no header files, a cache that cannot be written: each has its own type
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        warnings.warn(
            f"Triton, which needs a C compiler and Python's header files, cannot compile here ({reason}): {SLOWER}",
            stacklevel=2,
        )
        return None
    return kernels


def full_precision(x: Tensor) -> AbstractContextManager:
    """Return a context in which autocast is off.

    Styles are computed in it: they take little time, and their rounding scales whole feature maps. In a 256 px
    generator in bfloat16 it would cause 60 % of the difference from float32.
    """
    on = not x.is_meta and torch.is_autocast_enabled(x.device.type)
    return torch.autocast(x.device.type, enabled=False) if on else nullcontext()
