"""Endless orders of samples that can start anywhere: shuffled epochs, each a pure function of (seed, epoch)."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np

from datasets.shard_cache import ShardCache

WINDOW = 16  # number of shards over which the samples of one shard are spread
SHARDS_AHEAD = 2  # number of shards that are downloaded before their first sample is due


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


class ShardSampler(StreamSampler):
    """An endless, resumable stream of (index, position) in an order that suits shards; see `StreamSampler`.

    Each epoch has a new random order of the shards, and spreads the samples of each shard over the next WINDOW shards:
    the samples of the shard at place p are sorted by p + WINDOW * u, with u uniform in [0, 1). If there are at most
    WINDOW shards, all samples are shuffled together.

    Args:
        shards: The shards; those behind URLs are downloaded a little ahead.
        shard_of: The shard of each sample, int32 [length].
        length, seed, start, rank, world_size: See `StreamSampler`.
    """

    def __init__(
        self,
        shards: ShardCache,
        shard_of: np.ndarray,
        length: int,
        seed: int,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(length, seed, start, rank, world_size)
        self.shards, self.shard_of = shards, shard_of

    def order(self, epoch: int) -> np.ndarray:
        """Return the indices of the samples in the order of an epoch, int64 [length]."""
        rng = np.random.default_rng([self.seed, epoch])
        place = self._places(rng)  # [S]
        spread = rng.random(self.length, np.float32)  # [length]
        if len(self.shards) <= WINDOW:
            return np.argsort(spread, kind="stable")
        return np.argsort(place[self.shard_of] + WINDOW * spread.astype(np.float64), kind="stable")

    def __iter__(self) -> Iterator[tuple[int, int]]:
        due: Iterator[tuple[int, int]] = iter(())
        soon, epoch_of_plan = None, -1
        for index, position in super().__iter__():
            if self.shards.remote:
                epoch, offset = divmod(position, self.length)
                if epoch != epoch_of_plan:
                    due, epoch_of_plan = self._plan(epoch, offset), epoch
                    soon = next(due, None)
                while soon is not None and soon[0] <= offset:
                    self.shards.fetch_ahead([soon[1]])
                    soon = next(due, None)
            yield index, position

    def _places(self, rng: np.random.Generator) -> np.ndarray:
        """Return the place of each shard in the order of an epoch, int64 [S]; `rng` must be new for the epoch."""
        return np.argsort(rng.permutation(len(self.shards)))

    def _plan(self, epoch: int, offset: int) -> Iterator[tuple[int, int]]:
        """Yield (offset at which to start, shard to download) for the rest of an epoch and the start of the next."""
        shown = self.shard_of[self.order(epoch)]  # [length]
        needed, first = np.unique(shown, return_index=True)  # [S'], [S']
        by_first = np.argsort(first)
        needed, first = needed[by_first], first[by_first]
        begin = np.concatenate([np.zeros(min(SHARDS_AHEAD, len(first)), np.int64), first[:-SHARDS_AHEAD]])  # [S']
        last = self.length - 1 - np.unique(shown[::-1], return_index=True)[1][by_first]  # [S'], last offset of each
        for number in np.flatnonzero(last >= offset):
            yield int(begin[number]), int(needed[number])
        following = np.argsort(self._places(np.random.default_rng([self.seed, epoch + 1])))
        for number in following[:SHARDS_AHEAD]:
            yield int(first[-1]), int(number)
