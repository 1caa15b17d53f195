"""A task in one file: `--task deblurring --sigma 1.5` trains it, and its checkpoints keep the setting for inference."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.ndimage import gaussian_filter

from datasets.examples import Example, to_size
from datasets.tasks import Task, register_task
from stylegan2.runtime.errors import UserError


@register_task("deblurring")
@dataclass(frozen=True)
class Deblurring(Task):
    """A sharp photo from a blurred one. In inference photos are blurred first, as in training.

    Args:
        sigma: Standard deviation of the blur, in pixels of the encoder's input.
    """

    sigma: float = 1.0
    lambdas: ClassVar[dict[str, float]] = {"l2": 1.0, "perceptual": 0.8, "id": 0.1, "w_norm": 0.005}

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise UserError(f"sigma must be positive, not {self.sigma}")

    def make_pair(
        self, example: Example, source_size: int, target_size: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """The blurred photo and the photo itself, mirrored half of the time."""
        example = example.maybe_mirrored(rng)
        return self._blur(to_size(example.target, source_size)), to_size(example.target, target_size)

    def read_source(self, picture: np.ndarray, size: int, native_side: float) -> tuple[np.ndarray, np.ndarray]:
        return self._blur(to_size(picture, size)), picture

    def _blur(self, photo: np.ndarray) -> np.ndarray:
        """photo [3, S, S] -> [3, S, S]."""
        return gaussian_filter(photo, (0, self.sigma, self.sigma))  # [3, S, S]
