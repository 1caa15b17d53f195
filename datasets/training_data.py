"""Training data by (index, position): mirrored images for generators, and pairs of a task for encoders.

This module does not import PyTorch, so that worker processes stay small.
"""

from typing import TYPE_CHECKING

import numpy as np

from datasets.examples import Augment, Example, Indexed
from stylegan2.runtime.pixels import to_planes

if TYPE_CHECKING:
    from datasets.tasks import Task


class MirroredImages:
    """Images as float32 [C, R, R] in [-1, 1]: `[(index, position)]` returns an image, or (image, label) with labels.

    Args:
        pixels: Images uint8 [R, R, C] by index.
        mirror: Whether to mirror the image at a random half of the positions.
        seed: Seed of mirroring.
        labels: int64 [len(pixels)] or float32 [len(pixels), K]; None for images without labels.
    """

    def __init__(self, pixels: Indexed[np.ndarray], mirror: bool, seed: int, labels: np.ndarray | None = None) -> None:
        self.pixels, self.mirror, self.seed, self.labels = pixels, mirror, seed, labels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, key: tuple[int, int]) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        index, position = key
        image = to_planes(self.pixels[index])  # [C, R, R]
        # The position is the seed, so the result depends neither on the number of workers nor on where a run resumed.
        flip = self.mirror and np.random.default_rng([self.seed, position]).random() < 0.5
        image = image[:, :, ::-1] if flip else image
        return image if self.labels is None else (image, self.labels[index])


class TaskPairs:
    """Pairs of a task: `[(index, position)]` returns (source [C, S, S], target [3, T, T]), float32.

    Args:
        examples: The examples by index.
        task: The task, which makes pairs of examples.
        source_size, target_size: Sides S and T in pixels.
        seed: Seed of what is random, together with the position.
        augment: Whether to augment the examples; see `datasets.examples.Augment`.
    """

    preload = ("scipy.ndimage",)  # modules that tasks compute with; see `read_ahead`

    def __init__(
        self,
        examples: Indexed[Example],
        task: "Task",
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

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        index, position = key
        rng = np.random.default_rng([self.seed, position])
        example = self.examples[index]
        if self.augment is not None:
            example = self.augment(example, rng)
        return self.task.make_pair(example, *self.sizes, rng)
