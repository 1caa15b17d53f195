"""Examples: the items of a data set from which a task makes training pairs, and how they are resized and augmented."""

import importlib
import os
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol, TypeVar

import numpy as np

from stylegan2.runtime import pixels

Item = TypeVar("Item", covariant=True)


class Indexed(Protocol[Item]):
    """A collection of items with indices from 0, such as the images of a folder."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Item: ...


@dataclass(frozen=True)
class Example:
    """One target image and, if the data set provides it, the source image to translate into it."""

    target: np.ndarray
    """uint8 [P, P, 3]"""
    source: np.ndarray | None = None
    """uint8 [P, P, C] or label ids [P, P]; None if the task derives the source from the target"""
    name: str = ""
    """file name of the source, for messages"""

    def mirrored(self) -> "Example":
        """Mirror both images horizontally."""
        source = None if self.source is None else np.ascontiguousarray(self.source[:, ::-1])
        return Example(np.ascontiguousarray(self.target[:, ::-1]), source, self.name)

    def maybe_mirrored(self, rng: np.random.Generator) -> "Example":
        """Mirror the example with probability 0.5."""
        return self.mirrored() if rng.random() < 0.5 else self


def to_size(image: np.ndarray, size: int) -> np.ndarray:
    """Resize uint8 [P, P, C] with antialiasing and convert it to float32 [C, size, size] in [-1, 1]."""
    return pixels.to_planes(pixels.resize(image, (size, size)))


class Augment:
    """Random geometric and colour augmentation, the same for target and source.

    Scale and position change by up to 5 %, the angle by up to 4 degrees, and brightness, contrast and saturation by up
    to 15 %. Label ids, masks and sketches are moved with the image, but keep their values. Calling it takes an example
    and the random generator, and returns the augmented example.
    """

    def __init__(self) -> None:
        self._pipeline: Any = None  # an albumentations.Compose, once it is needed

    def __getstate__(self) -> dict:
        return {"_pipeline": None}  # every worker builds a pipeline of its own

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        if self._pipeline is None:
            self._pipeline = _build_pipeline()
        self._pipeline.set_random_seed(int(rng.integers(2**31)))
        if example.source is None:
            return Example(self._pipeline(image=example.target)["image"], None, example.name)
        kind = "source" if example.source.shape[2:] == (3,) else "mask"  # masks keep their values
        augmented = self._pipeline(**{"image": example.target, kind: example.source})
        return Example(augmented["image"], augmented[kind].reshape(example.source.shape), example.name)


def _build_pipeline() -> Any:
    import cv2

    albumentations = _import_albumentations()
    cv2.setNumThreads(0)  # worker processes share the cores
    place = albumentations.Affine(
        scale=(0.95, 1.05), translate_percent=(-0.05, 0.05), rotate=(-4, 4), border_mode=cv2.BORDER_REFLECT_101, p=1.0
    )
    colour = albumentations.ColorJitter(
        brightness=(0.85, 1.15), contrast=(0.85, 1.15), saturation=(0.85, 1.15), hue=(0.0, 0.0), p=1.0
    )
    return albumentations.Compose([place, colour], additional_targets={"source": "image"})


def _import_albumentations() -> ModuleType:
    """Import albumentations, which takes seconds, without its conversions to tensors.

    Those import PyTorch, which takes 300 MB in every worker process. Without them albumentations works as if PyTorch
    were not installed.
    """
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # otherwise it asks a server for updates
    conversions = "albumentations.pytorch"
    if conversions in sys.modules:
        return importlib.import_module("albumentations")
    sys.modules[conversions] = None  # type: ignore[assignment]  # an import of it raises ImportError
    try:
        return importlib.import_module("albumentations")
    finally:
        del sys.modules[conversions]
