"""Limit the memory of a process so that too large an allocation fails, and recognise such failures."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from stylegan2.runtime.errors import UserError

CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # version 2, version 1
GPU_ERROR = "OutOfMemoryError"  # compared by name, so that PyTorch need not be imported
FLOAT32 = 4  # bytes
ALLOCATION_FAILED = re.compile(
    r"DefaultCPUAllocator|Storage size calculation overflowed|[Ii]nteger multiplication overflow|out of memory"
    r"|Cannot allocate memory|Trying to create tensor with negative dimension"
)
SHARED_MEMORY_FULL = re.compile(r"Bus error|insufficient shared memory|unable to (mmap|resize) .*shared|/torch_\d+")


def total_memory() -> int | None:
    """Return the memory that this process may use in bytes, including swap space; None if it is not known."""
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
    """Make allocations that exceed the memory of the machine fail.

    Linux allocates more memory than exists, and kills the process without a message when the memory is used. With a
    limit, the allocation fails and can be reported in one sentence. Use this function only in processes that compute on
    the CPU, because GPU drivers reserve addresses without using memory.
    """
    total = total_memory()
    if sys.platform != "linux" or total is None:
        return
    import resource  # not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if soft == resource.RLIM_INFINITY or soft > total:
        resource.setrlimit(resource.RLIMIT_DATA, (total, hard))


def check_batch(images: int, channels: int, resolution: int) -> None:
    """Raise a UserError if the images of a batch alone are larger than the memory."""
    size, total = images * channels * resolution**2 * FLOAT32, total_memory()
    if total is not None and size > total:
        raise UserError(
            f"batch_size is too large: {images:,} images of {resolution} px take {size / 1e9:,.0f} GB, but this "
            f"machine has {total / 1e9:,.0f} GB of memory"
        )


@contextlib.contextmanager
def advising(images: int, advice: str) -> Iterator[None]:
    """Report what the user can try if the memory is too small for the images that a block processes at a time.

    Args:
        images: Number of images that the block processes at a time.
        advice: What the user can try, as the end of the sentence.

    Raises:
        UserError: The memory is too small.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if shortage(error) is None or SHARED_MEMORY_FULL.search(str(error)):
            raise
        short = f"this {_device(error)} has too little memory for {images:,} images at a time"
        raise UserError(f"{short}: {advice}") from error


def _device(error: BaseException) -> str:
    return "GPU" if type(error).__name__ == GPU_ERROR else "machine"


def shortage(error: BaseException) -> str | None:
    """Return a sentence for an error that is caused by a lack of memory, or None for any other error."""
    if not isinstance(error, MemoryError | RuntimeError | OSError):
        return None
    text = str(error)
    if SHARED_MEMORY_FULL.search(text) and "DataLoader" in text:
        return f"the shared memory of the system is too small (see `df {os.sep}dev{os.sep}shm`): use fewer workers"
    if isinstance(error, MemoryError) or ALLOCATION_FAILED.search(text):
        return f"this {_device(error)} has too little memory: use a smaller batch or smaller networks"
    return None
