"""Time, memory and kernels of computations on a device, by CUDA events on GPUs and by the clock of the host on CPUs."""

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

TOP = 12
WARM_UP = 3  # calls before the profiled one, which select and compile the kernels


def milliseconds(call: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Return the median time of a call in milliseconds, over 3 to 50 calls that take about `seconds` in total.

    Two further calls before these are not counted.
    """
    call()  # selects and compiles kernels
    synchronize(device)
    start = time.perf_counter()
    call()
    synchronize(device)
    elapsed = time.perf_counter() - start
    count = min(50, max(3, int(seconds / max(elapsed, 1e-6))))
    if device.type != "cuda":
        return statistics.median(_wall(call) for _ in range(count)) * 1000
    events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
    events[0].record()
    for event in events[1:]:
        call()
        event.record()
    synchronize(device)
    return statistics.median(a.elapsed_time(b) for a, b in pairwise(events))


def _wall(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def clean(device: torch.device) -> None:
    """Free the memory of earlier work and reset the peak of memory use."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_gb(device: torch.device) -> float | None:
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None


@contextmanager
def libraries(precision: str, search: bool = False) -> Iterator[None]:
    """Configure cuBLAS and cuDNN within a block.

    Args:
        precision: "fp32" for exact float32 products; with any other value, they are rounded to TF32 (19 bits).
        search: Whether cuDNN tries all of its algorithms at the first call of each shape, as in other training loops.
    """
    tf32_before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    search_before = torch.backends.cudnn.benchmark
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "fp32"
    torch.backends.cudnn.benchmark = search or search_before
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32_before
        torch.backends.cudnn.benchmark = search_before


def copy_rate(device: torch.device, numbers: int) -> float:
    """Measure the memory bandwidth of a copy of float32 numbers: bytes read and written per second."""
    source = torch.randn(numbers, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / milliseconds(lambda: target.copy_(source), device, 0.5) * 1000


def profiled(call: Callable[[], object], device: torch.device) -> dict[str, Any]:
    """Profile one call after a few warm-up calls.

    Returns:
        The wall time of the call and the total time of its kernels in milliseconds, the number of kernel launches, and
        the kernels that took longest. If the two times differ much, the device waits for the host.
    """
    for _ in range(WARM_UP):
        call()
    synchronize(device)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=activities) as profiler:
        start = time.perf_counter()
        call()
        synchronize(device)
        wall = (time.perf_counter() - start) * 1000
    events = [(kernel_ms(event, device), event) for event in profiler.key_averages()]
    events = sorted(((ms, event) for ms, event in events if ms > 0), key=lambda pair: -pair[0])
    busy = sum(ms for ms, _ in events)
    top = [{"kernel": e.key[:100], "ms": ms, "share": ms / busy, "calls": e.count} for ms, e in events[:TOP]]
    return {"step, ms": wall, "kernels, ms": busy, "launches": sum(event.count for _, event in events), "top": top}


def kernel_ms(event: Any, device: torch.device) -> float:
    """Return the time of a kernel in milliseconds; on a CPU, of an operator without those that it calls.

    On a GPU, the entries of operators count as 0, since their kernels have entries of their own.
    """
    if device.type != "cuda":
        return event.self_cpu_time_total / 1000
    return event.self_device_time_total / 1000 if event.device_type == DeviceType.CUDA else 0.0
