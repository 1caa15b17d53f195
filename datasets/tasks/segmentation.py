"""Segmentation to face: a photo from a label map (pSp, arXiv 2008.00951, section 4.3, conditional image synthesis)."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from datasets.examples import Example, to_size
from datasets.faces.labels import LABELS
from datasets.setting import setting
from datasets.synthetic import SyntheticFaces
from datasets.tasks.registry import register_task
from datasets.tasks.task import Task
from psp.inference.sources import LabelMaps, one_hot, out_of_range, palette
from stylegan2.runtime import pixels
from stylegan2.runtime.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from psp.evaluation.methods import Method

MAX_LABELS = 256  # label maps are uint8


@register_task("segmentation")
@dataclass(frozen=True)
class Segmentation(Task):
    """Label map to photo; the source has one channel per label, 1 where a pixel has that label and 0 elsewhere.

    Args:
        label_nc: number of labels, 19 for CelebAMask-HQ; label ids are 0 to label_nc - 1.
    """

    label_nc: int = setting(len(LABELS), only="training")
    lambdas = {"l2": 1.0, "perceptual": 0.8, "id": 0.0, "w_norm": 0.005}  # noqa: RUF012
    source_mode = "labels"
    needs_source = True
    aligns = False
    rendering = "labels 1"
    multi_modal = True
    keeps_labels = True

    def __post_init__(self) -> None:
        if not 2 <= self.label_nc <= MAX_LABELS:
            raise UserError(f"label_nc must be a number from 2 to {MAX_LABELS}, not {self.label_nc}")

    @property
    def source_channels(self) -> int:
        return self.label_nc

    def render(self, faces: SyntheticFaces, index: int) -> Example:
        return labelled_face(faces, index)

    def make_pair(
        self, example: Example, source_size: int, target_size: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Make a pair of one-hot labels and the photo, never mirrored because left and right have different labels."""
        if example.source is None:
            raise UserError("the task segmentation needs label maps: give their folder as source_data")
        if problem := out_of_range(example.source, self.label_nc):
            raise UserError(f"{example.name or 'a label map'} {problem}")
        return one_hot(example.source, self.label_nc, source_size), to_size(example.target, target_size)

    def show_source(self, source: "Tensor") -> "Tensor":
        colours = source.new_tensor(palette(self.label_nc))  # [label_nc, 3]
        shown = colours[source.argmax(1)]  # [N, S, S, 3]
        return shown.permute(0, 3, 1, 2) / 127.5 - 1  # [N, 3, S, S]

    def read_file(self, path: str | os.PathLike) -> np.ndarray:
        return LabelMaps(self.label_nc).read_file(path)

    def read_source(self, picture: np.ndarray, size: int, native_side: float) -> tuple[np.ndarray, np.ndarray]:
        return LabelMaps(self.label_nc).read_source(picture, size, native_side)

    def baselines(self, source_size: int, paired: bool) -> "list[Method]":
        """List the true image, whose mIoU is the highest that the segmenter can measure."""
        from datasets.baselines import baseline  # imports PyTorch

        return [baseline("true image", source_size, lambda source, target: target)]


def labelled_face(faces: SyntheticFaces, index: int) -> Example:
    """Render a procedural face with its labels: target uint8 [R, R, 3] and source uint8 [R, R]."""
    sample = faces.sample(index)
    return Example(pixels.from_planes(sample.image), sample.label_map)
