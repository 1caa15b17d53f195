"""A random order of the samples of shards in which only a few shards are needed at a time."""

from collections.abc import Iterator

import numpy as np

from datasets.sampler import StreamSampler
from datasets.shard_cache import ShardCache

WINDOW = 16  # number of shards over which the samples of one shard are spread
SHARDS_AHEAD = 2  # number of shards that are downloaded before their first sample is due


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
