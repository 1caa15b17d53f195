"""Where the Triton kernels run: on CUDA, where Triton is installed. Elsewhere every operator has a plain form.

And where autocast does not reach.
"""

import warnings
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from types import ModuleType

import torch
from torch import Tensor, nn

PLAIN_TYPES = (Tensor, nn.Parameter)  # what has memory: fake tensors and other subclasses go the plain way
OLDEST_CAPABILITY = (7, 5)  # the oldest GPU for which the kernels are compiled in the tests


def kernels_for(x: Tensor) -> ModuleType | None:
    """`stylegan2.ops.kernels` where it can compute with x, else None."""
    return _kernels(x.device) if x.is_cuda and x.is_floating_point() and type(x) in PLAIN_TYPES else None


@lru_cache
def _kernels(device: torch.device) -> ModuleType | None:
    """Looked for once for each device; what is missing is said once."""
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
    """Where autocast is on, what is done within is computed as it is stored.

    Styles are: small work, and its rounding scales whole maps. On a 256 px generator in bfloat16 it makes 60 % of the
    difference to float32.
    """
    on = not x.is_meta and torch.is_autocast_enabled(x.device.type)
    return torch.autocast(x.device.type, enabled=False) if on else nullcontext()
