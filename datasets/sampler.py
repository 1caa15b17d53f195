"""Endless data order that can start anywhere: shuffled epochs, each a pure function of (seed, epoch)."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np
from torch.utils.data import Sampler


class StreamSampler(Sampler):
    """Yields (index, position): the sample to read and its place in the stream, which seeds its augmentation.

    Args:
        length: samples in the dataset.
        start: position of the first sample, for resuming.
        rank, world_size: this process takes every world_size-th position.
    """

    def __init__(self, length: int, seed: int, start: int = 0, rank: int = 0, world_size: int = 1) -> None:
        self.length, self.seed = length, seed
        self.start, self.rank, self.world_size = start, rank, world_size

    def order(self, epoch: int) -> np.ndarray:
        """Return the samples in the order of an epoch, int64 [length]."""
        return np.random.default_rng([self.seed, epoch]).permutation(self.length)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        position, shuffled, order = self.start + self.rank, -1, np.arange(0)
        while True:
            epoch, offset = divmod(position, self.length)
            if epoch != shuffled:
                order, shuffled = self.order(epoch), epoch
            yield int(order[offset]), position
            position += self.world_size


class StreamBatches(Sampler):
    """Groups what a sampler yields into batches, for ever.

    Args:
        keys: endless, from position `start` on.
        size_at: the size of the batch that starts at a position.
        world_size: so many processes share each batch, and `keys` are of one of them.
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
