"""Sketch to face: a photo from a line drawing (pSp, arXiv 2008.00951, conditional image synthesis).

The source has one channel in [0, 1], with black lines (0) on white paper (1), as the published sketch models expect.
Drawings are derived from photos: their lines are the edges that an extended difference of Gaussians finds (Winnemoeller
et al. 2012, "XDoG") and, if labels are known, the outlines of the parts of the face.
"""

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from datasets.examples import Example, to_size
from datasets.synthetic import SyntheticFaces
from datasets.tasks.registry import register_task
from datasets.tasks.segmentation import labelled_face
from datasets.tasks.task import Task
from psp.inference.sources import Drawings, draw, drawing_to_plane
from stylegan2.runtime import pixels

if TYPE_CHECKING:
    from torch import Tensor


@register_task("sketch")
class Sketch(Task):
    """Line drawing to photo; drawings are derived from the photos, or read from source files without changes."""

    source_channels = 1
    lambdas: ClassVar[dict[str, float]] = {"l2": 1.0, "perceptual": 0.8, "id": 0.0, "w_norm": 0.005}
    source_mode = "gray"
    rendering = "labels 1"
    multi_modal = True

    def render(self, faces: SyntheticFaces, index: int) -> Example:
        return labelled_face(faces, index)

    def make_pair(
        self, example: Example, source_size: int, target_size: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Make a pair of a drawing and the photo, mirrored with probability 0.5.

        If labels are known, half of the drawings show the outlines of the parts of the face. The others show only the
        edges, like the drawings that inference derives from photos.
        """
        example, outlined = example.maybe_mirrored(rng), rng.random() < 0.5
        target = to_size(example.target, target_size)  # [3, T, T]
        if example.source is not None and example.source.ndim == 3:  # a drawing from a file
            return drawing_to_plane(pixels.resize(example.source, (source_size, source_size))[..., 0]), target
        drawing = draw(pixels.resize(example.target, (source_size, source_size)))  # [S, S]
        if example.source is not None and outlined:
            drawing[outlines(pixels.resize(example.source, (source_size, source_size)))] = 0
        return drawing_to_plane(drawing), target

    def show_source(self, source: "Tensor") -> "Tensor":
        return (source * 2 - 1).expand(-1, 3, -1, -1)  # [N, 3, S, S]

    def read_source(self, picture: np.ndarray, size: int, native_side: float) -> tuple[np.ndarray, np.ndarray]:
        return Drawings().read_source(picture, size, native_side)


def outlines(labels: np.ndarray) -> np.ndarray:
    """Return where the label to the right or below differs, bool [S, S], for a label map [S, S]."""
    edge = np.zeros(labels.shape, bool)
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edge[:-1] |= labels[:-1] != labels[1:]
    return edge
