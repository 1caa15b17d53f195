"""Frontalization: a turned head, seen from the front (pSp, section 4.2)."""

import numpy as np
from torch import Tensor

from datasets.examples import Example
from datasets.synthetic import SyntheticFaces
from datasets.tasks.registry import register_task
from datasets.tasks.task import Task
from datasets.transforms import to_size

MAX_YAW = 60.0  # degrees
YAW_STREAM = 2  # the faces draw identity and nuisance from streams 0 and 1


@register_task("frontalization")
class Frontalization(Task):
    """The procedural faces give exact pairs, as do --source_data; photos alone follow the paper's recipe."""

    # The paper's point: the pixels may differ (the pose does), the identity and the face's looks may not.
    lambdas = {  # noqa: RUF012
        "l2": 0.001,
        "perceptual": 0.08,
        "id": 1.0,
        "w_norm": 0.005,
        "l2_crop": 0.01,
        "perceptual_crop": 0.8,
    }
    rendering = "turned 1"

    def render(self, faces: SyntheticFaces, index: int) -> Example:
        """A yaw between -60 and 60 degrees of its own for every index."""
        yaw = np.random.default_rng([faces.seed, index, YAW_STREAM]).uniform(-MAX_YAW, MAX_YAW)
        return self.turned(faces, index, float(yaw))

    @staticmethod
    def turned(faces: SyntheticFaces, index: int, yaw: float) -> Example:
        """The person of an index turned by yaw degrees; the target is the same one, in the same light, upright."""
        return Example(faces.image(index, yaw=0.0, pitch=0.0, roll=0.0), faces.image(index, yaw=yaw))

    def make_pair(
        self, example: Example, source_size: int, target_size: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """A true pair is mirrored as one. A photo alone is its own source, and each side is mirrored or not by itself.

        The latter is how the paper learns without pairs: only a frontal face can satisfy both directions.
        """
        if example.source is not None:
            example = example.maybe_mirrored(rng)
            return to_size(example.source, source_size), to_size(example.target, target_size)
        source, target = (example.maybe_mirrored(rng).target for _ in range(2))
        return to_size(source, source_size), to_size(target, target_size)
