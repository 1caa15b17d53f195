"""From indexable images to an endless, resumable stream of batches."""

import atexit
import weakref
from collections.abc import Callable, Generator
from typing import Any

from datasets.read_ahead import read_ahead, read_here
from datasets.sampler import StreamBatches, StreamSampler
from stylegan2.runtime import distributed


def stream_batches(
    dataset: Any,
    length: int,
    batch_size: int | Callable[[int], int],
    seed: int,
    workers: int,
    sampler: Callable[..., StreamSampler] = StreamSampler,
) -> Callable[[int], Generator[Any, None, None]]:
    """Return a function that, given a position in the stream, iterates over batches from there on, for ever.

    Closing the iterator ends its workers; at the latest they end with the process, quietly.

    Args:
        dataset: `[(index, position)]` gives an array or a tensor, or several; processes get a pickled copy of it.
        length: Samples in the dataset.
        batch_size: A number, or a function from the position at which a batch starts to its size. Where several
            processes train, each gets its share of every batch: the sample of every so-many-th position.
        seed: Of the order.
        workers: Processes that read ahead; with 0 this one reads.
        sampler: The order of the samples, as `datasets.sources.sampler_of` gives it.
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
    """End the workers of streams that are still open, such as those that an error's traceback holds.

    It has to happen before `multiprocessing` waits for them at exit, which comes later as it was registered earlier.
    """
    for stream in list(_open_streams):
        stream.close()
