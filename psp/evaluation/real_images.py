"""The images that a generator was trained on, and cached statistics of their features."""

import hashlib
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from psp.evaluation.features import FeatureNetwork
from stylegan2.metrics.features import FeatureStatistics, feature_statistics
from stylegan2.metrics.samples import batches
from stylegan2.runtime import checkpoint, images
from stylegan2.runtime.errors import CheckpointError
from stylegan2.runtime.files import cache_folder

KIND = "features"


class Pictures(Protocol):
    """Pictures by index, uint8 [R, R, C] each."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> np.ndarray: ...


class RealImages:
    """The first `count` images that a generator was trained on.

    Args:
        pixels: uint8 [R, R, C] by index.
        key: Key of their content, which changes whenever that changes.
        count: How many images are used.
    """

    def __init__(self, pixels: Pictures, key: str, count: int) -> None:
        self.pixels, self.count = pixels, min(count, len(pixels))
        self.key = f"{key} first {self.count}"

    def __len__(self) -> int:
        return self.count

    def batches(self, batch_size: int, name: str) -> Iterator[Tensor]:
        """Yield images [N, C, R, R] in [-1, 1], and show a progress bar."""
        for part in batches(self.count, batch_size, name):
            yield torch.stack([images.to_tensor(self.pixels[i]) for i in range(part.start, part.stop)])  # [N, C, R, R]

    def statistics(self, network: FeatureNetwork, keep: bool, batch_size: int) -> FeatureStatistics:
        """Return the statistics of the features of all images, from the cache if it has them.

        Args:
            keep: Whether the features themselves are needed too.
        """
        digest = hashlib.sha256(f"{self.key} {network.key}".encode()).hexdigest()[:16]
        path = cache_folder() / f"features-{digest}.safetensors"
        try:
            tensors, _ = checkpoint.read(path)
            found = FeatureStatistics.restore(tensors)
            if found.kept is not None or not keep:
                return found
        except CheckpointError:  # there is none yet, or it is damaged
            pass
        found = feature_statistics(self.batches(batch_size, f"real images, {network.name}"), network, keep)
        checkpoint.save(path, found.tensors(), {"kind": KIND, "images": self.key, "network": network.key})
        return found
