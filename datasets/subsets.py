"""Subsets of indexable items, and the division of items into those for training and those that are held out."""

from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np

from datasets.examples import Indexed

Item = TypeVar("Item")
HELD_OUT_MAX = 128  # largest number of images for validation
HELD_OUT_SHARE = 0.05


class Subset(Generic[Item]):
    """A subset of indexable items."""

    def __init__(self, items: Indexed[Item], indices: Sequence[int]) -> None:
        self.items, self.indices = items, np.asarray(indices, np.int64)  # processes share the memory of arrays

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Item:
        return self.items[int(self.indices[index])]


def held_out_count(length: int) -> int:
    """Return the number of items to hold out from `length` items: 5 %, but at least 1 and at most 128."""
    return min(HELD_OUT_MAX, max(1, int(length * HELD_OUT_SHARE)))


def split(items: Indexed[Item], seed: int = 0, pool: np.ndarray | None = None) -> tuple[Subset[Item], Subset[Item]]:
    """Split items into training and held-out items: the last ones of a fixed random order are held out.

    Args:
        items: The items.
        seed: Seed of the order.
        pool: Indices of the items from which to hold out first; by default all.

    Returns:
        The training items and the held-out items, each in the order of indices.
    """
    count = held_out_count(len(items))
    order = np.random.default_rng(seed).permutation(len(items))
    if pool is not None:
        order = np.concatenate([order[~np.isin(order, pool)], order[np.isin(order, pool)]])
    kept, held_out = order[:-count].tolist() or order.tolist(), order[-count:].tolist()
    return Subset(items, sorted(kept)), Subset(items, sorted(held_out))
