"""Inversion: reconstructing the photo itself (pSp, arXiv 2008.00951, section 4.1)."""

import numpy as np

from datasets.examples import Example, to_size
from datasets.tasks.registry import register_task
from datasets.tasks.task import Task


@register_task("inversion")
class Inversion(Task):
    """Photo to the same photo; with source files, it is translation between any two kinds of images."""

    lambdas = {"l2": 1.0, "perceptual": 0.8, "id": 0.1, "w_norm": 0.0}  # noqa: RUF012
    inverts = True
    pictures_source = False  # the source is the target

    def make_pair(
        self, example: Example, source_size: int, target_size: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Make a pair of the photo and itself, or of its source file and the photo, mirrored with probability 0.5."""
        example = example.maybe_mirrored(rng)
        target = to_size(example.target, target_size)  # [3, T, T]
        if example.source is not None:
            return to_size(example.source, source_size), target
        return target if source_size == target_size else to_size(example.target, source_size), target
