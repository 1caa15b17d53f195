"""An endless order of samples that can start anywhere: shuffled epochs, each a pure function of (seed, epoch)."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np


class StreamSampler:
    """An endless stream of (index, position): the sample, and its position in the stream, which seeds augmentation.

    Args:
        length: Number of samples in the data set.
        seed: Seed of the order.
        start: Position of the first sample, for resuming.
        rank, world_size: This process takes every world_size-th position, beginning with start + rank.
    """

    def __init__(self, length: int, seed: int, start: int = 0, rank: int = 0, world_size: int = 1) -> None:
        self.length, self.seed = length, seed
        self.start, self.rank, self.world_size = start, rank, world_size

    def order(self, epoch: int) -> np.ndarray:
        """Return the indices of the samples in the order of an epoch, int64 [length]."""
        return np.random.default_rng([self.seed, epoch]).permutation(self.length)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        position, shuffled, order = self.start + self.rank, -1, np.arange(0)
        while True:
            epoch, offset = divmod(position, self.length)
            if epoch != shuffled:
                order, shuffled = self.order(epoch), epoch
            yield int(order[offset]), position
            position += self.world_size


class StreamBatches:
    """An endless stream of batches of the keys of a sampler.

    Args:
        keys: Endless keys (index, position) of this process, from position `start`.
        start: Position of the first batch.
        size_at: Maps the position at which a batch starts to its total size.
        world_size: Number of processes that share each batch.
    """

    def __init__(
        self, keys: Iterable[tuple[int, int]], start: int, size_at: Callable[[int], int], world_size: int = 1
    ) -> None:
        self.keys, self.start, self.size_at, self.world_size = keys, start, size_at, world_size

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        keys, position = iter(self.keys), self.start
        while True:
            size = self.size_at(position)
            yield list(islice(keys, size // self.world_size))
            position += size
