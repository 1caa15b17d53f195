"""From indexable images to an endless, resumable stream of batches."""

import atexit
import os
import signal
import threading
import weakref
from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datasets.sampler import StreamBatches, StreamSampler
from stylegan2.runtime import distributed, images
from stylegan2.runtime.errors import UserError


class MirroredImages(Dataset):
    """`[(index, position)]` gives float32 [C, R, R]; with `mirror`, half of the positions are flipped.

    With `labels`, int64 [len(pixels)] or float32 [len(pixels), K], it gives (image, label).
    """

    def __init__(self, pixels: Sequence[np.ndarray], mirror: bool, seed: int, labels: np.ndarray | None = None) -> None:
        self.pixels, self.mirror, self.seed, self.labels = pixels, mirror, seed, labels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, key: tuple[int, int]) -> Tensor | tuple[Tensor, np.ndarray]:
        index, position = key
        image = images.to_tensor(self.pixels[index])  # [C, R, R]
        # Drawn from the position, so the result does not depend on the number of workers or on where a run resumed.
        flip = self.mirror and np.random.default_rng([self.seed, position]).random() < 0.5
        image = image.flip(2) if flip else image
        return image if self.labels is None else (image, self.labels[index])


def leave_signals_to_the_loop(worker_id: int) -> None:
    """Let workers live until the loop has saved and ends them: schedulers signal every process of a job."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS and Windows, where a signalled worker ends at once
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_end_when_the_parent_says, daemon=True).start()


def _end_when_the_parent_says() -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
        pass
    os._exit(0)


def stream_batches(
    dataset: Dataset, length: int, batch_size: int | Callable[[int], int], seed: int, workers: int
) -> Callable[[int], Generator[Any, None, None]]:
    """Return a function that, given a position in the stream, iterates over batches from there on, for ever.

    Closing the iterator ends its workers; at the latest they end with the process, quietly.

    batch_size: a number, or a function from the position at which a batch starts to its size. Where several processes
        train, each gets its share of every batch: the sample of every so-many-th position.
    """
    size_at = batch_size if callable(batch_size) else lambda position: batch_size

    def from_position(start: int) -> Generator[Any, None, None]:
        keys = StreamSampler(length, seed, start, distributed.rank(), distributed.world_size())
        loader = DataLoader(
            dataset,
            batch_sampler=StreamBatches(keys, start, size_at, distributed.world_size()),
            num_workers=workers,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=leave_signals_to_the_loop,
        )
        stream = _batches_of(loader)
        _open_streams.add(stream)
        return stream

    return from_position


def _batches_of(loader: DataLoader) -> Generator[Any, None, None]:
    try:
        yield from loader
    except UserError as error:
        error.__traceback__ = None  # it holds the workers, and the error below holds this one as its context
        raise UserError(_sentence(error) if loader.num_workers else str(error)) from None


_open_streams: weakref.WeakSet[Generator] = weakref.WeakSet()


@atexit.register
def _close_streams() -> None:
    """End the workers of streams that are still open, such as those that an error's traceback holds.

    It has to happen before `multiprocessing` kills them at exit, which comes later as it was registered earlier: the
    thread that pins memory for a GPU would be cut off while it reads from a worker, and print a ConnectionResetError.
    """
    for stream in list(_open_streams):
        stream.close()


def _sentence(error: UserError) -> str:
    """Take the sentence out of a traceback, as which PyTorch hands on a worker's mistake: its last line has it."""
    return str(error).rstrip().splitlines()[-1].partition(": ")[2]
