"""Inversion: re-synthesise the photo itself (pSp, section 4.1)."""

import numpy as np
from torch import Tensor

from datasets.tasks.registry import register_task
from stylegan2.runtime import images


@register_task("inversion")
class Inversion:
    source_channels = 3
    lambdas = {"l2": 1.0, "perceptual": 0.8, "id": 0.1, "w_norm": 0.0}  # noqa: RUF012

    @staticmethod
    def make_pair(
        image: np.ndarray, source_size: int, target_size: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Source and target are the same photo, mirrored half of the time."""
        if rng.random() < 0.5:
            image = np.ascontiguousarray(image[:, ::-1])
        source = images.to_tensor(images.resize(image, (source_size, source_size)))  # [3, S, S]
        if source_size == target_size:
            return source, source
        return source, images.to_tensor(images.resize(image, (target_size, target_size)))  # [3, T, T]

    @staticmethod
    def show_source(source: Tensor) -> Tensor:
        return source
