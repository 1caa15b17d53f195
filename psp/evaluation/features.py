"""Feature networks by name, and cached statistics of the features of the images that a generator was trained on."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from psp.perception.crop import WHOLE, crop_resize
from psp.perception.dlib_resnet import load_dlib
from psp.perception.efficientnet_lite0 import STRIDE, load_efficientnet_lite0
from psp.perception.inception import load_inception
from psp.pretrained_files import PRETRAINED
from stylegan2.metrics.features import FeatureStatistics, feature_statistics
from stylegan2.metrics.samples import as_rgb, batches
from stylegan2.runtime import checkpoint, images
from stylegan2.runtime.errors import CheckpointError, UserError
from stylegan2.runtime.files import cache_folder

EFFNET_SIDES = (64, 224)
"""smallest and largest input side of EfficientNet-Lite0, which was trained with the latter"""
KIND = "features"


@dataclass(frozen=True)
class FeatureNetwork:
    """A frozen network that turns images into features, with a name for reports and one for caches."""

    name: str
    """effnet, dlib or inception, which is part of the names of metrics"""
    description: str
    """description for reports"""
    key: str
    """key of caches, which changes whenever the features would"""
    module: nn.Module
    embed: Callable[[Tensor], Tensor]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Turn images [N, 1, 3 or 4, R, R] in [-1, 1] into features [N, D]."""
        device = next(self.module.parameters()).device
        return self.embed(as_rgb(images.to(device))).float()  # [N, D]


def feature_network(name: str, path: str | Path | None = None, device: torch.device | str = "cpu") -> FeatureNetwork:
    """Load a frozen feature network.

    Args:
        name: "effnet" for the 1,280 pooled features of EfficientNet-Lite0, "dlib" for the 128 numbers of dlib's face
            descriptor (FFHQ-aligned faces only), or "inception" for the 2,048 features that define FID and KID.
        path: File of the weights; by default it is searched for.
        device: Where the network runs.

    Raises:
        UserError: There is no such network, or its file is not on this machine.
    """
    if name not in _BUILDERS:
        raise UserError(f"there is no feature network {name!r}: choose one of {', '.join(_BUILDERS)}")
    return _BUILDERS[name](path, torch.device(device))


def _effnet(path: str | Path | None, device: torch.device) -> FeatureNetwork:
    network = load_efficientnet_lite0(path).to(device)

    def embed(images: Tensor) -> Tensor:
        side = effnet_side(min(images.shape[2:]))
        return network.pooled(crop_resize(images, WHOLE, side, side))  # [N, 1280]

    return FeatureNetwork("effnet", "EfficientNet-Lite0", _key("efficientnet_lite0", path), network, embed)


def effnet_side(side: int) -> int:
    """Return the side to which images are resized for EfficientNet-Lite0: a multiple of 32 from 64 to 224."""
    smallest, largest = EFFNET_SIDES
    return max(smallest, min(largest, round(side / STRIDE) * STRIDE))


def _dlib(path: str | Path | None, device: torch.device) -> FeatureNetwork:
    network = load_dlib(path).to(device)
    return FeatureNetwork("dlib", "dlib's face network", _key("dlib_resnet", path), network, network.embed)


def _inception(path: str | Path | None, device: torch.device) -> FeatureNetwork:
    network = load_inception(path).to(device)
    return FeatureNetwork("inception", "Inception (2015)", _key("inception_fid", path), network, network)


_BUILDERS = {"effnet": _effnet, "dlib": _dlib, "inception": _inception}


def _key(entry: str, path: str | Path | None) -> str:
    """Return a key for a network and its weights."""
    return f"{entry} {hashlib.sha256(PRETRAINED.locate(entry, path).read_bytes()).hexdigest()[:16]}"


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
            network: Computes the features.
            keep: Whether the features themselves are needed too.
            batch_size: Images at a time.
        """
        digest = hashlib.sha256(f"{self.key} {network.key}".encode()).hexdigest()[:16]
        path = cache_folder() / f"features-{digest}.safetensors"
        try:
            tensors, _ = checkpoint.read(path)
            statistics = FeatureStatistics.restore(tensors)
            if statistics.kept is not None or not keep:
                return statistics
        except CheckpointError:  # there is none yet, or it is damaged
            pass
        statistics = feature_statistics(self.batches(batch_size, f"real images, {network.name}"), network, keep)
        checkpoint.save(path, statistics.tensors(), {"kind": KIND, "images": self.key, "network": network.key})
        return statistics
