"""Pairs of a task, made on the fly; each depends on its image and its place in the stream alone."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

HELD_OUT_MAX = 128  # images for validation
HELD_OUT_SHARE = 0.05


class TaskPairs(Dataset):
    """`[(index, position)]` gives (source [C, S, S], target [3, T, T]); the position seeds what is random."""

    def __init__(self, pixels: Sequence[np.ndarray], task: type, source_size: int, target_size: int, seed: int) -> None:
        self.pixels, self.task, self.seed = pixels, task, seed
        self.sizes = (source_size, target_size)

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        index, position = key
        rng = np.random.default_rng([self.seed, position])
        return self.task.make_pair(self.pixels[index], *self.sizes, rng)


class Subset:
    """Some of an indexable's items."""

    def __init__(self, items: Sequence, indices: Sequence[int]) -> None:
        self.items, self.indices = items, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.items[self.indices[index]]


def split(pixels: Sequence, seed: int = 0) -> tuple[Subset, Subset]:
    """Training and held-out images: the last of a fixed shuffle are held out."""
    count = min(HELD_OUT_MAX, max(1, int(len(pixels) * HELD_OUT_SHARE)))
    order = np.random.default_rng(seed).permutation(len(pixels)).tolist()
    return Subset(pixels, sorted(order[:-count]) or order), Subset(pixels, sorted(order[-count:]))


def fixed_batches(pairs: TaskPairs, batch_size: int, count: int = HELD_OUT_MAX) -> list[tuple[Tensor, Tensor]]:
    """The first `count` pairs, in order: the same at every call."""
    count = min(count, len(pairs))
    loader = DataLoader(pairs, batch_size=batch_size, sampler=[(i, i) for i in range(count)])  # type: ignore[arg-type]
    return list(loader)
