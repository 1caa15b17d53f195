"""Training pairs of a task, made on the fly; each depends only on its example and its position in the stream."""

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datasets.examples import Example, Indexed
from datasets.sampler import StreamSampler
from datasets.tasks import Task
from datasets.transforms import Augment
from stylegan2.runtime import images

Item = TypeVar("Item")
HELD_OUT_MAX = 128  # largest number of images for validation
HELD_OUT_SHARE = 0.05
SHEET_ROWS, SHEET_COLUMNS = 5, 4  # number of pairs per column and per row
SHEET_SIDE = 128  # smallest side of an image in the sheet, in pixels


class TaskPairs(Dataset):
    """Pairs of a task: `[(index, position)]` returns (source [C, S, S], target [3, T, T]), float32.

    Args:
        examples: The examples by index.
        task: The task, which makes pairs of examples.
        source_size, target_size: Sides S and T in pixels.
        seed: Seed of what is random, together with the position.
        augment: Whether to augment the examples; see `datasets.transforms.Augment`.
    """

    preload = ("torch", "scipy.ndimage")  # modules that tasks compute with; see `read_ahead`

    def __init__(
        self,
        examples: Indexed[Example],
        task: Task,
        source_size: int,
        target_size: int,
        seed: int,
        augment: bool = False,
    ) -> None:
        self.examples, self.task, self.seed = examples, task, seed
        self.sizes = (source_size, target_size)
        self.augment = Augment() if augment else None

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        index, position = key
        rng = np.random.default_rng([self.seed, position])
        example = self.examples[index]
        if self.augment is not None:
            example = self.augment(example, rng)
        return self.task.make_pair(example, *self.sizes, rng)


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


def fixed_batches(pairs: TaskPairs, batch_size: int, count: int = HELD_OUT_MAX) -> list[tuple[Tensor, Tensor]]:
    """Return batches of the first `count` pairs in order, the same at every call."""
    count = min(count, len(pairs))
    loader = DataLoader(pairs, batch_size=batch_size, sampler=[(i, i) for i in range(count)])
    return list(loader)


def write_sheet(pairs: TaskPairs, path: Path, sampler: Callable[..., StreamSampler] = StreamSampler) -> None:
    """Write an image of the first pairs of a training, with each source next to its target."""
    keys = islice(sampler(len(pairs), pairs.seed), SHEET_ROWS * SHEET_COLUMNS)
    pictures = []
    for source, target in (pairs[key] for key in keys):
        pictures += [_picture(pairs.task.show_source(source[None])), _picture(target[None])]
    rows = [pictures[start : start + 2 * SHEET_COLUMNS] for start in range(0, len(pictures), 2 * SHEET_COLUMNS)]
    images.write_image(path, images.labelled_sheet(rows, ("source", "target") * SHEET_COLUMNS))


def _picture(image: Tensor) -> np.ndarray:
    """Convert float [1, 3, S, S] in [-1, 1] to uint8 [P, P, 3]; small images are enlarged by repeating pixels."""
    pixels = images.to_uint8(image.cpu())[0]  # [S, S, 3]
    times = -(-SHEET_SIDE // len(pixels))
    return pixels.repeat(times, axis=0).repeat(times, axis=1)  # [P, P, 3]
