"""Estimate the time and memory that a training needs: from a few timed steps, and from what a forward pass keeps."""

import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from stylegan2.runtime import memory
from stylegan2.runtime.device import peak_memory_mb
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.module import Module
from stylegan2.runtime.progress import duration

LEAST_STEPS, SECONDS = 3, 20.0
"""at least this many steps are timed, and further ones for this many seconds"""
CLEARLY_MORE = 1.2  # times the memory of the machine, because the need is an estimate
LEAST_IMAGES = 1_000  # a step is taken to need less memory than this many times its images


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


def kept_bytes(forward: Callable[[], Tensor], weights: Iterable[Tensor]) -> int:
    """Return the size of what a forward pass keeps for the backward pass, in bytes, without the weights."""
    own = {weight.untyped_storage().data_ptr() for weight in weights}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with (
        torch.random.fork_rng(devices=[]),
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        result = forward()  # held until the sum is taken, so that no address is used twice
    del result
    return sum(kept.values())


def check_step(
    bytes_per_image: Callable[[], int], image_bytes: int, images: int, advice: str, device: torch.device
) -> None:
    """Check that the memory of this machine suffices for what the steps of a training keep for the backward pass.

    Linux would otherwise end the process without a sentence. On a GPU an allocation that fails is an error by itself.

    Args:
        bytes_per_image: Computes what a step keeps of an image at least, in bytes. It is called only for batches whose
            size is suspicious, because it takes as long as a small step.
        image_bytes: Size of an image in bytes.
        images: Number of images that a process handles at a time.
        advice: What the user can try, as the end of the sentence.
        device: Device of the training.

    Raises:
        UserError: The memory is too small.
    """
    images_here, total = images * int(os.environ.get("LOCAL_WORLD_SIZE", "1")), memory.total_memory()
    if device.type != "cpu" or total is None or image_bytes * images_here * LEAST_IMAGES < total:
        return
    each = bytes_per_image()
    if each * images_here > CLEARLY_MORE * total:
        raise UserError(
            f"this machine has {total / 1e9:,.0f} GB of memory, which is enough for at most {total // each:,} images at"
            f" a time, not for {images_here:,}: {advice}"
        )
