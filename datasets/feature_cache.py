"""Statistics of the features of real images: computed once for each set of images and network, then read back."""

import hashlib
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datasets.folder import ImageFolder
from datasets.pack import cache_folder
from datasets.sources import SYNTHETIC, open_images
from datasets.synthetic import RENDERER_VERSION, TRAINING_SEED
from psp.evaluation.features import FeatureNetwork
from stylegan2.metrics.features import FeatureStatistics, describe
from stylegan2.metrics.samples import batches
from stylegan2.runtime import checkpoint, images
from stylegan2.runtime.errors import CheckpointError, UserError

KIND = "features"


class RealImages:
    """The first `count` images that a generator was trained on, and a key that names their content.

    Args:
        data: a folder or zip, or `synthetic`.
        count: None takes all of a folder or zip; the procedural faces have no end, so they need one.
    """

    def __init__(self, data: str, resolution: int, channels: int, count: int | None) -> None:
        self.pixels: Sequence[np.ndarray] = open_images(data, resolution, channels, seed=TRAINING_SEED)
        if count is None and data == SYNTHETIC:
            raise UserError("the procedural faces have no end: say how many to measure against")
        self.count = min(len(self.pixels), count or len(self.pixels))
        what = f"faces v{RENDERER_VERSION}" if data == SYNTHETIC else content_digest(self.pixels)  # type: ignore[arg-type]
        self.key = f"{what} {resolution} px {channels} channels first {self.count}"

    def __len__(self) -> int:
        return self.count

    def batches(self, batch_size: int, name: str) -> Iterator[Tensor]:
        """Images [N, C, R, R] in [-1, 1], behind a progress bar."""
        for part in batches(self.count, batch_size, name):
            yield torch.stack([images.to_tensor(self.pixels[i]) for i in range(part.start, part.stop)])  # [N, C, R, R]

    def statistics(self, network: FeatureNetwork, keep: bool, batch_size: int) -> FeatureStatistics:
        """Of all images, read from the cache where it has them; with `keep` the features themselves too."""
        digest = hashlib.sha256(f"{self.key} {network.key}".encode()).hexdigest()[:16]
        path = cache_folder() / f"features-{digest}.safetensors"
        try:
            tensors, _ = checkpoint.read(path)
            found = FeatureStatistics.restore(tensors)
            if found.kept is not None or not keep:
                return found
        except CheckpointError:  # there is none yet, or a disk has damaged it
            pass
        found = describe(self.batches(batch_size, f"real images, {network.name}"), network, keep)
        checkpoint.save(path, found.tensors(), {"kind": KIND, "images": self.key, "network": network.key})
        return found


def content_digest(folder: ImageFolder) -> str:
    """Names what a folder or zip holds: names, sizes and times of its files, or names, sizes and checksums in a zip."""
    digest, path = hashlib.sha256(), folder.files.path
    if path.is_dir():
        for index, name in enumerate(folder.files.names):
            state = Path(name).stat()
            digest.update(f"{folder.files.relative(index)} {state.st_size} {state.st_mtime_ns}\n".encode())
    else:
        with zipfile.ZipFile(path) as archive:
            for name in folder.files.names:
                digest.update(f"{name} {archive.getinfo(name).file_size} {archive.getinfo(name).CRC}\n".encode())
    return digest.hexdigest()[:16]
