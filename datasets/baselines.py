"""What a task's model has to beat: the source itself, made into an image without any learning."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from datasets.masks import paste_known
from datasets.tasks import Task
from datasets.tasks.frontalization import Frontalization
from datasets.tasks.inpainting import Inpainting
from datasets.tasks.segmentation import Segmentation
from datasets.tasks.super_resolution import SuperResolution
from psp.evaluation.methods import Method
from psp.model import fit
from stylegan2.runtime import images

Fill = Callable[[Tensor, Tensor], Tensor]
"""source [N, C, S, S], target [N, 3, T, T] -> output [N, 3, T, T]"""


def baselines(task: Task, source_size: int, paired: bool) -> list[Method]:
    """The rows of a task beside the models.

    paired: the sources are files of the user's, not derived from the targets.
    """
    if isinstance(task, Frontalization):
        return [_method("turned source", {}, source_size, _source)]
    if isinstance(task, SuperResolution):
        if paired:
            return [_method("source, enlarged", {}, source_size, _source)]
        factor = task.resize_factors[0]
        return [_method("bicubic enlargement", {"factor": factor}, source_size, _bicubic(source_size, factor))]
    if isinstance(task, Inpainting):
        return [_method("mean fill", {}, source_size, mean_fill)]
    if isinstance(task, Segmentation):  # its mIoU is the highest that the segmenter can see
        return [_method("true image", {}, source_size, lambda source, target: target)]
    return []


def with_known_pixels(method: Method) -> Method:
    """An inpainting method whose result is laid into the photo's hole alone."""

    def render(source: Tensor, target: Tensor, on_step: Any) -> Tensor:
        results = images.to_uint8(method.render(source, target, on_step))  # [N, T, T, 3]
        photos, holes = images.to_uint8(target), source[:, 3].cpu().numpy() > 0.5
        pasted = [paste_known(*parts) for parts in zip(results, photos, holes, strict=True)]
        return torch.stack([images.to_tensor(picture) for picture in pasted]).to(target.device)  # [N, 3, T, T]

    name = f"{method.name}, known pixels kept"
    return Method(name, {"known_pixels_kept": method.key}, method.source_size, render, method.steps)


def _method(name: str, settings: dict[str, Any], source_size: int, fill: Fill) -> Method:
    key = {"baseline": name, **settings}
    return Method(name, key, source_size, lambda source, target, on_step: fill(source, target))


def _source(source: Tensor, target: Tensor) -> Tensor:
    return fit(source, target.shape[-1])  # [N, 3, T, T]


def _bicubic(source_size: int, factor: int) -> Fill:
    """The target shrunk as the task shrinks it (`super_resolution.degrade`), and enlarged bicubically."""
    small = max(1, round(source_size / factor))

    def fill(source: Tensor, target: Tensor) -> Tensor:
        enlarged = [_resampled(_resampled(photo, small), len(photo)) for photo in images.to_uint8(target)]
        return torch.stack([images.to_tensor(photo) for photo in enlarged]).to(target.device)  # [N, 3, T, T]

    return fill


def _resampled(photo: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(photo).resize((size, size), Image.Resampling.BICUBIC))  # [size, size, 3]


def mean_fill(source: Tensor, target: Tensor) -> Tensor:
    """The photo with the mean colour of its known pixels in the hole: source [N, 4, S, S] -> [N, 3, T, T]."""
    hole = F.interpolate(source[:, 3:], target.shape[-1], mode="nearest-exact")  # [N, 1, T, T]
    known = 1 - hole
    mean = (target * known).sum([2, 3], keepdim=True) / known.sum([2, 3], keepdim=True).clamp(min=1)  # [N, 3, 1, 1]
    return target * known + mean * hole
