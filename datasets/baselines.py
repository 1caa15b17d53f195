"""Baselines: outputs computed without a model, which the model of a task has to outperform.

They are not in the files of the tasks, because the worker processes of a training import those, and need no PyTorch.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from datasets.masks import paste_known
from psp.evaluation.methods import Method, OnStep
from psp.model import fit
from stylegan2.runtime import images

Fill = Callable[[Tensor, Tensor], Tensor]
"""source [N, C, S, S], target [N, 3, T, T] -> output [N, 3, T, T]"""


def baseline(name: str, source_size: int, fill: Fill, **settings: object) -> Method:
    """Build the evaluation method of a baseline.

    Args:
        name: Name of the baseline in the table of results.
        source_size: Side of the sources in pixels.
        fill: Computes the outputs from sources and targets.
        settings: JSON values on which the outputs depend, besides the images.
    """
    key = {"baseline": name, **settings}
    return Method(name, key, source_size, lambda source, target, on_step: fill(source, target))


def resized_source(source: Tensor, target: Tensor) -> Tensor:
    """Resize the source [N, 3, S, S] to the size of the target [N, 3, T, T]."""
    return fit(source, target.shape[-1])  # [N, 3, T, T]


def bicubic_enlargement(small: int) -> Fill:
    """Return a baseline that reduces the target to a side of `small` pixels and enlarges it bicubically again."""
    return lambda source, target: enlarge_bicubic(target, small)


def enlarge_bicubic(photos: Tensor, small: int) -> Tensor:
    """Reduce photos [N, 3, T, T] to a side of `small` pixels, antialiased, and enlarge them bicubically again."""
    enlarged = [_resample(_resample(photo, small), len(photo)) for photo in images.to_uint8(photos)]
    return torch.stack([images.to_tensor(photo) for photo in enlarged]).to(photos.device)  # [N, 3, T, T]


def _resample(photo: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(photo).resize((size, size), Image.Resampling.BICUBIC))  # [size, size, 3]


def mean_fill(source: Tensor, target: Tensor) -> Tensor:
    """Fill holes with the mean colour of the known pixels.

    Args:
        source: Photos and masks, [N, 4, S, S].
        target: The whole photos, [N, 3, T, T], of which only the known pixels are used.

    Returns:
        [N, 3, T, T].
    """
    hole = F.interpolate(source[:, 3:], target.shape[-1], mode="nearest-exact")  # [N, 1, T, T]
    known = 1 - hole
    mean = (target * known).sum([2, 3], keepdim=True) / known.sum([2, 3], keepdim=True).clamp(min=1)  # [N, 3, 1, 1]
    return target * known + mean * hole


def with_known_pixels(method: Method) -> Method:
    """Return an inpainting method that pastes the result of another one into the hole and keeps the known pixels."""

    def render(source: Tensor, target: Tensor, on_step: OnStep) -> Tensor:
        results = images.to_uint8(method.render(source, target, on_step))  # [N, T, T, 3]
        photos, holes = images.to_uint8(target), source[:, 3].cpu().numpy() > 0.5
        pasted = [paste_known(*parts) for parts in zip(results, photos, holes, strict=True)]
        return torch.stack([images.to_tensor(picture) for picture in pasted]).to(target.device)  # [N, 3, T, T]

    name = f"{method.name}, known pixels kept"
    return Method(name, {"known_pixels_kept": method.key}, method.source_size, render, method.steps)
