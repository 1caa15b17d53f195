"""Batches from an indexable data set: an endless, resumable stream for training, and fixed ones for validation."""

import atexit
import weakref
from collections.abc import Callable, Generator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datasets.read_ahead import read_ahead, read_here
from datasets.sampler import StreamBatches, StreamSampler
from datasets.sources import HELD_OUT_MAX
from datasets.training_data import TaskPairs
from datasets.worker import Samples
from stylegan2.runtime import distributed, images

SHEET_ROWS, SHEET_COLUMNS = 5, 4  # number of pairs per column and per row
SHEET_SIDE = 128  # smallest side of an image in the sheet, in pixels


def stream_batches(
    dataset: Samples,
    length: int,
    batch_size: int | Callable[[int], int],
    seed: int,
    workers: int,
    sampler: Callable[..., StreamSampler] = StreamSampler,
) -> Callable[[int], Generator[Any, None, None]]:
    """Return a function that iterates endlessly over batches from a given position in the stream.

    Closing an iterator ends its worker processes; otherwise they end with this process.

    Args:
        dataset: `[(index, position)]` returns an array or a tensor, or a tuple of them; workers get a pickled copy.
        length: Number of samples in the data set.
        batch_size: The size of batches, or a function from the position at which a batch starts to its size. With
            several training processes, this is their total, and process r of n takes positions r, r + n, r + 2n, ...
        seed: Seed of the order of samples.
        workers: Number of processes that read ahead; with 0, this process reads.
        sampler: Constructor of the order of samples, as returned by `datasets.sources.sampler_of`.
    """
    size_at = batch_size if callable(batch_size) else lambda position: batch_size

    def from_position(start: int) -> Generator[Any, None, None]:
        keys = sampler(length, seed, start, distributed.rank(), distributed.world_size())
        batches = iter(StreamBatches(keys, start, size_at, distributed.world_size()))
        stream = read_ahead(dataset, batches, workers) if workers else read_here(dataset, batches)
        _open_streams.add(stream)
        return stream

    return from_position


_open_streams: weakref.WeakSet[Generator] = weakref.WeakSet()


@atexit.register
def _close_streams() -> None:
    """End the workers of streams that are still open, such as those referenced by the traceback of an error.

    This has to happen before `multiprocessing` waits for them at exit. Its exit handler runs later, because it was
    registered earlier.
    """
    for stream in list(_open_streams):
        stream.close()


def fixed_batches(pairs: TaskPairs, batch_size: int, count: int = HELD_OUT_MAX) -> list[tuple[Tensor, Tensor]]:
    """Return batches of the first `count` pairs in order, the same at every call."""
    count = min(count, len(pairs))
    starts = range(0, count, batch_size)
    return list(read_here(pairs, ([(i, i) for i in range(start, min(start + batch_size, count))] for start in starts)))


def write_sheet(pairs: TaskPairs, path: Path, sampler: Callable[..., StreamSampler] = StreamSampler) -> None:
    """Write an image of the first pairs of a training, with each source next to its target."""
    keys = islice(sampler(len(pairs), pairs.seed), SHEET_ROWS * SHEET_COLUMNS)
    pictures = []
    for source, target in (map(torch.as_tensor, pairs[key]) for key in keys):
        pictures += [_picture(pairs.task.show_source(source[None])), _picture(target[None])]
    rows = [pictures[start : start + 2 * SHEET_COLUMNS] for start in range(0, len(pictures), 2 * SHEET_COLUMNS)]
    images.write_image(path, images.labelled_sheet(rows, ("source", "target") * SHEET_COLUMNS))


def _picture(image: Tensor) -> np.ndarray:
    """Convert float [1, 3, S, S] in [-1, 1] to uint8 [P, P, 3]; small images are enlarged by repeating pixels."""
    pixels = images.to_uint8(image.cpu())[0]  # [S, S, 3]
    times = -(-SHEET_SIDE // len(pixels))
    return pixels.repeat(times, axis=0).repeat(times, axis=1)  # [P, P, 3]
