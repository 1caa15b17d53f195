"""Images as a generator is trained on them, without PyTorch: processes that read ahead hold this and the reader."""

import numpy as np

from datasets.examples import Indexed
from stylegan2.runtime.pixels import to_planes


class MirroredImages:
    """`[(index, position)]` gives float32 [C, R, R]; with `mirror`, half of the positions are flipped.

    With `labels`, int64 [len(pixels)] or float32 [len(pixels), K], it gives (image, label).
    """

    def __init__(self, pixels: Indexed[np.ndarray], mirror: bool, seed: int, labels: np.ndarray | None = None) -> None:
        self.pixels, self.mirror, self.seed, self.labels = pixels, mirror, seed, labels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, key: tuple[int, int]) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        index, position = key
        image = to_planes(self.pixels[index])  # [C, R, R]
        # Drawn from the position, so the result does not depend on the number of workers or on where a run resumed.
        flip = self.mirror and np.random.default_rng([self.seed, position]).random() < 0.5
        image = image[:, :, ::-1] if flip else image
        return image if self.labels is None else (image, self.labels[index])
