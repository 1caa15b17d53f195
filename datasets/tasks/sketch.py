"""Sketch to face: a photo from a line drawing (pSp, arXiv 2008.00951, conditional image synthesis).

The source is one channel in [0, 1], black lines on white paper (1), as the published sketch models read it. Drawings
are derived here: lines where an extended difference of Gaussians (Winnemoeller et al. 2012, "XDoG") says that one
side is darker, and, where labels are known, the outlines of the face's parts.
"""

from typing import ClassVar

import numpy as np
from torch import Tensor

from datasets.examples import Example
from datasets.synthetic import SyntheticFaces
from datasets.tasks.registry import register_task
from datasets.tasks.segmentation import labelled_face
from datasets.tasks.task import Task
from datasets.transforms import to_size
from psp.inference.sources import Drawings, draw, drawing_to_tensor
from stylegan2.runtime import images


@register_task("sketch")
class Sketch(Task):
    """Drawings of the user's own are a file for each photo, and in inference they are read as they are."""

    source_channels = 1
    lambdas: ClassVar[dict[str, float]] = {"l2": 1.0, "perceptual": 0.8, "id": 0.0, "w_norm": 0.005}
    source_mode = "gray"
    rendering = "labels 1"
    multi_modal = True

    def render(self, faces: SyntheticFaces, index: int) -> Example:
        return labelled_face(faces, index)

    def make_pair(
        self, example: Example, source_size: int, target_size: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Make a pair of drawing and photo, mirrored half of the time.

        Where labels are known, half of the drawings have the outlines of the parts; the others are of edges alone, as
        all those are that inference draws from a photo.
        """
        example, outlined = example.maybe_mirrored(rng), rng.random() < 0.5
        target = to_size(example.target, target_size)  # [3, T, T]
        if example.source is not None and example.source.ndim == 3:  # the user's own
            return drawing_to_tensor(images.resize(example.source, (source_size, source_size))[..., 0]), target
        drawing = draw(images.resize(example.target, (source_size, source_size)))  # [S, S]
        if example.source is not None and outlined:
            drawing[outlines(images.resize(example.source, (source_size, source_size)))] = 0
        return drawing_to_tensor(drawing), target

    def show_source(self, source: Tensor) -> Tensor:
        return (source * 2 - 1).expand(-1, 3, -1, -1)  # [N, 3, S, S]

    def read_source(self, picture: np.ndarray, size: int, native_side: float) -> tuple[Tensor, np.ndarray]:
        return Drawings().read_source(picture, size, native_side)


def outlines(labels: np.ndarray) -> np.ndarray:
    """Find where a label map [S, S] has another label to the right or below: bool [S, S]."""
    edge = np.zeros(labels.shape, bool)
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edge[:-1] |= labels[:-1] != labels[1:]
    return edge
