"""Measurements on a shared machine: interleaved repetitions, medians, and the load by other processes."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from stylegan2.runtime.errors import UserError

STAT, CPU_INFO = Path("/proc/stat"), Path("/proc/cpuinfo")  # Linux
CHANNELS, SIDE = 256, 64  # size of the convolution that represents the peak speed of the machine
PEAK_GFLOP = 2 * 9 * CHANNELS**2 * SIDE**2 / 1e9


@dataclass(frozen=True)
class Figure:
    """The times of a call over its repetitions."""

    seconds: float
    """median time in seconds"""
    fastest: float
    """shortest time in seconds"""
    foreign: float | None
    """median fraction of all processors that other processes used in the meantime; None if it is not known"""


def interleaved(forms: dict[str, Callable[[], object]], repetitions: int) -> dict[str, Figure]:
    """Measure several forms of a computation in turns, so that all of them are measured under the same load.

    Each form is called `repetitions` times, after one call that is not measured.
    """
    samples: dict[str, list[tuple[float, float | None]]] = {name: [] for name in forms}
    for repetition in range(repetitions + 1):
        for name, call in forms.items():
            sample = timed(call)
            if repetition:
                samples[name].append(sample)
    return {name: _figure(times) for name, times in samples.items()}


def timed(call: Callable[[], object]) -> tuple[float, float | None]:
    """Call a function; return its time in seconds and the load by other processes, a fraction or None."""
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
    """Return the busy time of all processors since the system started in seconds; None if it is not known."""
    if not STAT.exists():
        return None
    user, nice, system, _, _, irq, softirq, *_ = map(int, STAT.read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def convolution_peak(dtype: torch.dtype, calls: int = 4) -> Callable[[], object]:
    """Return a function that runs an efficient 3x3 convolution `calls` times: `calls * PEAK_GFLOP` GFLOP of work."""
    x = torch.randn(1, CHANNELS, SIDE, SIDE, dtype=dtype).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(CHANNELS, CHANNELS, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)

    def run() -> None:
        with torch.inference_mode():
            for _ in range(calls):
                F.conv2d(x, weight, padding=1)

    return run


def peak_memory_mb() -> float | None:
    """Return the peak memory of this process in MB; None on Windows."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def in_own_process(script: str, *flags: object) -> Any:
    """Run a script in a process of its own and parse the last line that it prints as JSON. UserError: it fails."""
    command = [sys.executable, str(Path(script).resolve()), *map(str, flags)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"a process of the benchmark ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def write_figures(out: Path | None, figures: object) -> None:
    """Write figures to a JSON file, if the user named one."""
    if out is not None:
        out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def processor() -> str:
    """Return the name of the processor."""
    lines = CPU_INFO.read_text(encoding="utf-8").splitlines() if CPU_INFO.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def markdown(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (titles, ["---"] * len(titles), *rows))
