"""What `--data` may name: the embedded procedural faces, a folder or a zip file."""

from collections.abc import Sequence

import numpy as np

from datasets.folder import ImageFolder
from datasets.pack import DiskCache
from datasets.pairs import split
from datasets.synthetic import HELD_OUT_SEED, RENDERER_VERSION, SyntheticFaces
from stylegan2.runtime.errors import UserError

SYNTHETIC = "synthetic"
SYNTHETIC_LENGTH = 50_000  # shown several times in a training: rendered once, then read from the cache


class SyntheticPixels:
    """`[index]` gives the rendered face as uint8 [R, R, 3]."""

    def __init__(self, resolution: int, seed: int = 0) -> None:
        self.faces = SyntheticFaces(resolution, seed=seed)

    def __len__(self) -> int:
        return SYNTHETIC_LENGTH

    def __getitem__(self, index: int) -> np.ndarray:
        return self.faces.image(index)


def open_split(data: str, test_data: str | None, resolution: int) -> tuple[Sequence[np.ndarray], Sequence[np.ndarray]]:
    """(training, held-out) images: `test_data` where given, else other faces, else a fixed share of the data."""
    if test_data is not None:
        return open_images(data, resolution), open_images(test_data, resolution)
    if data == SYNTHETIC:
        return open_images(data, resolution), open_images(data, resolution, seed=HELD_OUT_SEED)
    return split(open_images(data, resolution))


def open_held_out(data: str, resolution: int) -> Sequence[np.ndarray]:
    """Images to measure on: procedural faces that no training sees, or all of a folder or zip."""
    return open_images(data, resolution, seed=HELD_OUT_SEED)


def open_images(data: str, resolution: int, channels: int = 3, seed: int = 0) -> Sequence[np.ndarray]:
    """Indexable uint8 images [R, R, C]."""
    if data != SYNTHETIC:
        return ImageFolder(data, resolution, channels)
    if channels != 3:
        raise UserError(f"the procedural faces have 3 channels, not {channels}: give a folder with --data")
    key = f"faces v{RENDERER_VERSION} {resolution} px seed {seed}"
    return DiskCache(SyntheticPixels(resolution, seed), (resolution, resolution, 3), key)
