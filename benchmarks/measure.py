"""Measuring on a machine that others use too: interleaved repetitions, medians, the foreign load beside each figure."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from stylegan2.runtime.errors import UserError

STAT = Path("/proc/stat")  # Linux
CHANNELS, SIDE = 256, 64  # of the convolution that stands for the machine's peak
PEAK_GFLOP = 2 * 9 * CHANNELS**2 * SIDE**2 / 1e9


@dataclass(frozen=True)
class Figure:
    """Medians over the repetitions."""

    seconds: float
    fastest: float
    foreign: float | None
    """share of all processors that other processes used meanwhile; None where the system does not tell"""


def interleaved(forms: dict[str, Callable[[], object]], repetitions: int) -> dict[str, Figure]:
    """Calls each form once a repetition, so that all meet the same load; the first repetition is not counted."""
    samples: dict[str, list[tuple[float, float | None]]] = {name: [] for name in forms}
    for repetition in range(repetitions + 1):
        for name, call in forms.items():
            sample = timed(call)
            if repetition:
                samples[name].append(sample)
    return {name: _figure(found) for name, found in samples.items()}


def timed(call: Callable[[], object]) -> tuple[float, float | None]:
    """(seconds, foreign load)"""
    busy, own, start = busy_seconds(), time.process_time(), time.perf_counter()
    call()
    seconds = time.perf_counter() - start
    if busy is None:
        return seconds, None
    foreign = (busy_seconds() or 0.0) - busy - (time.process_time() - own)
    return seconds, max(0.0, foreign) / (seconds * (os.cpu_count() or 1))


def _figure(samples: list[tuple[float, float | None]]) -> Figure:
    seconds = [s for s, _ in samples]
    loads = [load for _, load in samples if load is not None]
    return Figure(statistics.median(seconds), min(seconds), statistics.median(loads) if loads else None)


def busy_seconds() -> float | None:
    """Seconds that all processors have worked since the system started."""
    if not STAT.exists():
        return None
    user, nice, system, _, _, irq, softirq, *_ = map(int, STAT.read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def convolution_peak(dtype: torch.dtype, calls: int = 4) -> Callable[[], object]:
    """A 3x3 convolution as good as they get, `calls` times: `calls * PEAK_GFLOP` of work."""
    x = torch.randn(1, CHANNELS, SIDE, SIDE, dtype=dtype).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(CHANNELS, CHANNELS, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)

    def run() -> None:
        with torch.inference_mode():
            for _ in range(calls):
                F.conv2d(x, weight, padding=1)

    return run


def peak_memory_mb() -> float | None:
    """The most memory that this process ever held."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def in_own_process(script: str, *flags: object) -> Any:
    """The JSON that is the last line of what a script prints. UserError where it fails."""
    command = [sys.executable, str(Path(script).resolve()), *map(str, flags)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"a process of the benchmark ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])
