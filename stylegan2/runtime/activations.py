"""The memory that a training step needs at least: what a forward pass keeps for the backward pass."""

import os
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from stylegan2.runtime import memory
from stylegan2.runtime.errors import UserError

CLEARLY_MORE = 1.2  # times the memory of the machine, because the need is an estimate
LEAST_IMAGES = 1_000  # a step is taken to need less memory than this many times its images


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
