"""Choose a device and the precision of its numbers, and set what decides speed and reproducibility of the process."""

import ctypes
import os
import re
import sys

import torch

from stylegan2.runtime.errors import UserError
from stylegan2.runtime.module import Module
from stylegan2.runtime.ranges import check_precision

M_MMAP_MAX, M_TRIM_THRESHOLD = -4, -1  # glibc's malloc.h
NEVER = -1  # a threshold of 2 GB would give the activations of a large step back, and map them anew in the next one
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str = "auto") -> torch.device:
    """Return a device by name.

    Args:
        name: "cuda", "cuda:1", "mps", "cpu", or "auto" for CUDA, else Apple's MPS, else the CPU.

    Raises:
        UserError: The device is not available.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, there in available.items() if there)
    kind = name.split(":")[0]
    if not available.get(kind, False):
        there = ", ".join(kind for kind, yes in available.items() if yes)
        raise UserError(f"device {name!r} is not available here: use auto or one of {there}")
    count, number = torch.cuda.device_count() if kind == "cuda" else 1, name.partition(":")[2]
    if name != kind and not (re.fullmatch(r"[0-9]{1,3}", number) and int(number) < count):
        raise UserError(
            f"device {name!r} does not exist: the number of {kind} devices is {count}, and they are numbered from 0"
        )
    return torch.device(name)


def place(module: Module, device: torch.device) -> None:
    """Move a module to a device, with its convolutions in channels_last, the layout that is fast on GPUs."""
    module.to(device)
    module.to(memory_format=torch.channels_last)


def set_deterministic(enabled: bool) -> None:
    """Choose whether a GPU computes the same numbers, bit for bit, in every run, or cuDNN searches fast kernels.

    cuBLAS reads its variable when it is first used, so call this before anything runs on a GPU.
    """
    if enabled:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(enabled)
    torch.backends.cudnn.deterministic = enabled
    torch.backends.cudnn.benchmark = not enabled


def peak_memory_mb(device: torch.device) -> float | None:
    """Return the peak memory of tensors since the last call, in MB; None if PyTorch does not measure it."""
    if device.type != "cuda":
        return None
    peak = torch.cuda.max_memory_allocated(device) / 2**20
    torch.cuda.reset_peak_memory_stats(device)
    return peak


def tune_process(malloc: bool = True) -> None:
    """Flush denormals and, with `malloc`, keep freed memory in the process (on Linux with glibc only).

    With glibc's defaults every large temporary is mapped anew and page-faults, which costs more than many operators.
    The price is that the process keeps its peak memory until it ends.
    """
    torch.set_flush_denormal(True)
    if malloc and sys.platform == "linux":
        try:
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(M_MMAP_MAX, 0)
            libc.mallopt(M_TRIM_THRESHOLD, NEVER)
        except (OSError, AttributeError):  # not glibc: nothing to tune
            return


def set_precision_flags(precision: str, device: torch.device, auto: str) -> torch.dtype:
    """Set how this process multiplies float32 numbers, and return the type of layers in reduced precision.

    TF32 rounds the factors of a product to 10 bits of mantissa, on NVIDIA GPUs from Ampere on. Networks with 16-bit
    layers use it too, as those layers are less exact anyway.

    Args:
        precision: One of `ranges.PRECISIONS`; "auto" is float32 on a CPU.
        device: The device of the networks.
        auto: The meaning of "auto" on CUDA, such as "fp16".

    Returns:
        torch.float16, torch.bfloat16 or, where no layer is reduced, torch.float32.

    Raises:
        UserError: There is no such precision.
    """
    check_precision(precision)
    if precision == "auto":
        precision = auto if device.type == "cuda" else "fp32"
    allow_tf32 = precision != "fp32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allow_tf32
    if precision in DTYPES and device.type == "cpu":
        print(f"{precision} is slower than fp32 on most processors")
    return DTYPES.get(precision, torch.float32)
