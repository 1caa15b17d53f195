"""Estimate the time and memory that a training needs by timing a few steps."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from stylegan2.runtime.device import peak_memory_mb
from stylegan2.runtime.module import Module
from stylegan2.runtime.progress import duration

LEAST_STEPS, SECONDS = 3, 20.0
"""at least this many steps are timed, and further ones for this many seconds"""


@dataclass(frozen=True)
class Estimate:
    """The measured speed and memory of a training."""

    seconds_per_step: float
    images_per_step: int
    peak_gigabytes: float | None
    """peak memory of the GPU or, on a CPU, of the process; None if it is not known"""

    def lines(self, images_left: int) -> list[str]:
        """Describe the memory and time that a training with `images_left` further images needs, as lines of text."""
        speed = self.images_per_step / self.seconds_per_step
        memory = [] if self.peak_gigabytes is None else [f"memory: {self.peak_gigabytes:.2g} GB at most"]
        return [
            *memory,
            f"time: about {duration(images_left / speed)} at {speed:.3g} img/s, without validation and checkpoints",
        ]


def time_steps(step: Callable[[], int], device: torch.device, most_steps: int) -> Estimate:
    """Measure the time of steps, after a first one that is not measured.

    Args:
        step: Takes one step and returns the number of images in it.
        device: The device on which the steps run.
        most_steps: Largest number of measured steps, such as the interval of the lazy phases.
    """
    peak_memory_mb(device)  # starts a new measurement
    step()
    _wait_for(device)
    started, steps, shown = time.perf_counter(), 0, 0
    while steps < LEAST_STEPS or (steps < most_steps and time.perf_counter() - started < SECONDS):
        shown += step()
        steps += 1
        _wait_for(device)
    seconds = time.perf_counter() - started
    return Estimate(seconds / steps, shown // steps, _peak_gigabytes(device))


def parameter_counts(**networks: Module) -> str:
    """Return a line with the number of parameters of each network."""
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
