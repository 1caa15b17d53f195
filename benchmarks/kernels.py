"""Profiling of the kernels that a call runs on a device."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.clock import synchronize

TOP = 12
WARM_UP = 3  # calls before the profiled one, which select and compile the kernels


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
