"""An endless, resumable stream of batches from an indexable data set."""

import atexit
import weakref
from collections.abc import Callable, Generator
from typing import Any

from datasets.read_ahead import read_ahead, read_here
from datasets.sampler import StreamBatches, StreamSampler
from datasets.worker import Samples
from stylegan2.runtime import distributed


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
