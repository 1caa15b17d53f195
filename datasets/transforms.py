"""What is done to an example before its task makes a pair: sizes, and augmentation on request."""

import os
from typing import Any

import numpy as np
from torch import Tensor

from datasets.examples import Example
from stylegan2.runtime import images


def to_size(image: np.ndarray, size: int) -> Tensor:
    """Turn uint8 [P, P, C] into float32 [C, size, size] in [-1, 1], antialiased."""
    return images.to_tensor(images.resize(image, (size, size)))


class Augment:
    """Small changes of place and colour, the same for target and source, drawn from the generator that is given.

    Scale and position change by up to 5 %, the angle by 4 degrees, brightness, contrast and saturation by 15 %. Label
    ids, masks and sketches move with the picture and keep their values.
    """

    def __init__(self) -> None:
        self._pipeline: Any = None

    def __getstate__(self) -> dict:
        return {"_pipeline": None}  # every worker builds its own

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        if self._pipeline is None:
            self._pipeline = _build_pipeline()
        self._pipeline.set_random_seed(int(rng.integers(2**31)))
        if example.source is None:
            return Example(self._pipeline(image=example.target)["image"], None, example.name)
        kind = "source" if example.source.shape[2:] == (3,) else "mask"  # a mask is not coloured, and takes the nearest
        found = self._pipeline(**{"image": example.target, kind: example.source})
        return Example(found["image"], found[kind].reshape(example.source.shape), example.name)


def _build_pipeline() -> Any:
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it would ask a server for news
    import albumentations  # here, because it takes seconds to import
    import cv2

    cv2.setNumThreads(0)  # the loader's processes share the machine
    place = albumentations.Affine(
        scale=(0.95, 1.05), translate_percent=(-0.05, 0.05), rotate=(-4, 4), border_mode=cv2.BORDER_REFLECT_101, p=1.0
    )
    colour = albumentations.ColorJitter(
        brightness=(0.85, 1.15), contrast=(0.85, 1.15), saturation=(0.85, 1.15), hue=(0.0, 0.0), p=1.0
    )
    return albumentations.Compose([place, colour], additional_targets={"source": "image"})
