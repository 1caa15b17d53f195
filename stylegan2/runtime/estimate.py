"""What a training will need of time and memory, by a few steps of which nothing is kept."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from stylegan2.runtime.device import peak_memory_mb
from stylegan2.runtime.progress import duration

LEAST_STEPS, SECONDS = 3, 20.0
"""So many steps are timed at least, and further ones for so long."""


@dataclass(frozen=True)
class Estimate:
    """What was measured."""

    seconds_per_step: float
    images_per_step: int
    peak_gigabytes: float | None
    """of the GPU's memory; on a CPU of the process; None where the system does not say"""

    def lines(self, images_left: int) -> list[str]:
        """Return sentences about a training that still shows so many images."""
        speed = self.images_per_step / self.seconds_per_step
        memory = [] if self.peak_gigabytes is None else [f"memory: {self.peak_gigabytes:.2g} GB at most"]
        return [
            *memory,
            f"time: about {duration(images_left / speed)} at {speed:.3g} img/s, beside validation and checkpoints",
        ]


def time_steps(step: Callable[[], int], device: torch.device, most_steps: int) -> Estimate:
    """Time steps, of which the first one, which warms up, does not count.

    Args:
        step: Makes a step and returns how many images it showed.
        device: Where it runs.
        most_steps: As many are enough, such as the interval of what happens rarely.
    """
    peak_memory_mb(device)  # begins again
    step()
    _wait_for(device)
    started, steps, shown = time.perf_counter(), 0, 0
    while steps < LEAST_STEPS or (steps < most_steps and time.perf_counter() - started < SECONDS):
        shown += step()
        steps += 1
        _wait_for(device)
    seconds = time.perf_counter() - started
    return Estimate(seconds / steps, shown // steps, _peak_gigabytes(device))


def parameter_counts(**networks: nn.Module) -> str:
    """Return a line with the size of each network."""
    counts = {name: sum(parameter.numel() for parameter in network.parameters()) for name, network in networks.items()}
    return "parameters: " + ", ".join(f"{name} {count / 1e6:.3g} million" for name, count in counts.items())


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_gigabytes(device: torch.device) -> float | None:
    of_the_gpu = peak_memory_mb(device)
    if of_the_gpu is not None:
        return of_the_gpu * 2**20 / 1e9
    try:
        import resource
    except ImportError:  # Windows
        return None
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return resident * (1 if sys.platform == "darwin" else 1024) / 1e9
