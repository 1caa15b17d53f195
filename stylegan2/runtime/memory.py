"""Memory that is not there: a limit that makes too large an allocation fail, and how such a failure is recognised."""

import os
import re
import sys
from pathlib import Path

from stylegan2.runtime.errors import UserError

CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # version 2, version 1
GPU_ERROR = "OutOfMemoryError"  # of PyTorch, which a command line does not wait for
FLOAT32 = 4  # bytes
ALLOCATION_FAILED = re.compile(
    r"DefaultCPUAllocator|Storage size calculation overflowed|[Ii]nteger multiplication overflow|out of memory"
    r"|Cannot allocate memory|Trying to create tensor with negative dimension"
)
SHARED_MEMORY_FULL = re.compile(r"Bus error|insufficient shared memory|unable to (mmap|resize) .*shared|/torch_\d+")


def total_memory() -> int | None:
    """Return the bytes that this process may use, swap space included; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        kilobytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
        total = 1024 * (kilobytes["MemTotal"] + kilobytes["SwapTotal"])
    except (OSError, ValueError, KeyError, IndexError):
        return None
    for path in CGROUP_LIMITS:
        try:
            total = min(total, int(Path(path).read_text(encoding="ascii")))
        except (OSError, ValueError):  # another version, or "max"
            continue
    return total


def limit_memory() -> None:
    """Let allocations fail that are larger than the machine's memory.

    Linux promises more memory than there is, and ends the process without a word once it is used. With a limit the
    allocation is refused, which can be said in a sentence. For processes that compute on the CPU: drivers of GPUs
    reserve addresses that are no memory.
    """
    total = total_memory()
    if sys.platform != "linux" or total is None:
        return
    import resource  # not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if soft == resource.RLIM_INFINITY or soft > total:
        resource.setrlimit(resource.RLIMIT_DATA, (total, hard))


def check_batch(images: int, channels: int, resolution: int) -> None:
    """Refuse a batch whose images alone are larger than the memory. UserError: says how large they are."""
    size, total = images * channels * resolution**2 * FLOAT32, total_memory()
    if total is not None and size > total:
        raise UserError(
            f"batch_size is too large: {images:,} images of {resolution} px are {size / 1e9:,.0f} GB, and this machine "
            f"has {total / 1e9:,.0f} GB of memory"
        )


def shortage(error: BaseException) -> str | None:
    """Return a sentence for an error that means that memory is short, and None for all others."""
    if not isinstance(error, MemoryError | RuntimeError | OSError):
        return None
    text = str(error)
    if SHARED_MEMORY_FULL.search(text) and "DataLoader" in text:
        return f"the memory that processes share is too small, see df {os.sep}dev{os.sep}shm: use fewer workers"
    if isinstance(error, MemoryError) or ALLOCATION_FAILED.search(text):
        device = "GPU" if type(error).__name__ == GPU_ERROR else "machine"
        return f"this {device} has too little memory for that: use a smaller batch or smaller networks"
    return None
