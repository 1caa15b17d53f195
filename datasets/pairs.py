"""Training pairs of a task, made on the fly; each depends only on its example and its position in the stream.

This module does not import PyTorch, so that worker processes stay small.
"""

import numpy as np

from datasets.examples import Example, Indexed
from datasets.tasks import Task
from datasets.transforms import Augment


class TaskPairs:
    """Pairs of a task: `[(index, position)]` returns (source [C, S, S], target [3, T, T]), float32.

    Args:
        examples: The examples by index.
        task: The task, which makes pairs of examples.
        source_size, target_size: Sides S and T in pixels.
        seed: Seed of what is random, together with the position.
        augment: Whether to augment the examples; see `datasets.transforms.Augment`.
    """

    preload = ("scipy.ndimage",)  # modules that tasks compute with; see `read_ahead`

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

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        index, position = key
        rng = np.random.default_rng([self.seed, position])
        example = self.examples[index]
        if self.augment is not None:
            example = self.augment(example, rng)
        return self.task.make_pair(example, *self.sizes, rng)
