"""Training images of a generator, with random mirroring and labels.

This module does not import PyTorch, so that worker processes stay small.
"""

import numpy as np

from datasets.examples import Indexed
from stylegan2.runtime.pixels import to_planes


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
