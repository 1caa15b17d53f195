"""The base class of tasks, whose methods are those of a task that reads photos without changes.

Worker processes make the pairs of a training. They stay small because neither this module nor the tasks import PyTorch
to do so; a task imports what only its evaluation needs where it is used.
"""

import os
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from datasets.examples import Example, Indexed
from datasets.synthetic import SyntheticFaces
from stylegan2.runtime import image_reader, pixels

if TYPE_CHECKING:
    from torch import Tensor

    from psp.evaluation.methods import Method


class Task:
    """A translation task: its sources, its targets and its loss weights.

    Each task is a class in a file of its own that is registered with `@register_task`. Its settings, if it has any, are
    the fields of a frozen dataclass. Each of them is a flag of the same name in training and inference, whose help text
    is its entry under `Args` of the class.

    Attributes:
        source_channels: Number of channels of the source tensor.
        lambdas: {loss: weight}, the weights of the paper.
        source_mode: How source files are read: "rgb", "gray" or "labels"; see `image_reader.read_image`.
        needs_source: Whether source files are required because no source can be derived from an image.
        aligns: Whether the inputs of inference are images in which faces can be detected.
        rendering: Name of what `render` makes of procedural faces, which has to change whenever that changes; "" for
            the plain image.
        inverts: Whether the output should equal the source, so that it can be optimised to do so.
        multi_modal: Whether many outputs fit one source, so that several of them are of interest.
        keeps_labels: Whether sources are label maps, with which the segmentation of the output can be compared.
        pictures_source: Whether the comparison image has a row of sources; False if another row shows them already.
    """

    registered_name: ClassVar[str]
    source_channels: int = 3
    lambdas: ClassVar[dict[str, float]]
    source_mode: ClassVar[str] = "rgb"
    needs_source: ClassVar[bool] = False
    aligns: ClassVar[bool] = True
    rendering: ClassVar[str] = ""
    inverts: ClassVar[bool] = False
    multi_modal: ClassVar[bool] = False
    keeps_labels: ClassVar[bool] = False
    pictures_source: ClassVar[bool] = True

    @property
    def config(self) -> dict[str, object]:
        """Return the settings that checkpoints store, as JSON; `build_task` accepts them as arguments."""
        settings = fields(self) if is_dataclass(self) else ()
        values = {entry.name: getattr(self, entry.name) for entry in settings if entry.metadata.get("stored", True)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    # --- training ---

    def render(self, faces: SyntheticFaces, index: int) -> Example:
        """Render the procedural face at an index, with its exact source if the task has one."""
        return Example(faces.image(index))

    def make_pair(
        self, example: Example, source_size: int, target_size: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Make a training pair.

        Args:
            example: An image, with its source if there is one.
            source_size, target_size: Sides S and T in pixels.
            rng: Random generator for everything that is random.

        Returns:
            Source [source_channels, S, S] and target [3, T, T], float32. Images are in [-1, 1]; masks, one-hot labels
            and drawings are in [0, 1].
        """
        raise AttributeError(f"{type(self).__name__} does not define make_pair")

    def show_source(self, source: "Tensor") -> "Tensor":
        """Convert sources [N, source_channels, S, S] to RGB images [N, 3, S, S] in [-1, 1] for display."""
        return source

    # --- inference ---

    def read_file(self, path: str | os.PathLike) -> np.ndarray:
        """Read an input file of inference.

        Returns:
            uint8 [H, W, C], whose first three channels are the colours, or label ids [H, W].

        Raises:
            ImageError: The file cannot be read.
        """
        return image_reader.read_image(path)

    def read_source(self, picture: np.ndarray, size: int, native_side: float) -> tuple[np.ndarray, np.ndarray]:
        """Convert an image to the source that the encoder reads.

        Args:
            picture: The square that was cropped from the result of `read_file`, uint8 [P, P, C] or [P, P].
            size: Side S of the encoder's input; a source [3, P, P] of another size is resized later.
            native_side: Side of the square in pixels of the file, which is less than P if the square was enlarged.

        Returns:
            The source, float32 [source_channels, S, S], and an image of it for display, uint8 [P, P, 3].
        """
        return pixels.to_planes(picture), picture

    def finish(self, result: np.ndarray, picture: np.ndarray, source: np.ndarray) -> np.ndarray:
        """Post-process a result of inference.

        Args:
            result: The result, uint8 [R, R, C].
            picture: The image for display that `read_source` returned.
            source: The source that `read_source` returned.

        Returns:
            uint8 [R, R, C].
        """
        return result

    # --- evaluation ---

    def groups(self, examples: Indexed[Example]) -> "list[Group]":
        """Divide held-out images, whose sources the task derives, into groups that are evaluated separately.

        Raises:
            UserError: The task cannot be evaluated on images without source files.
        """
        return [Group("all", examples, self)]

    def rendered_groups(self, resolution: int) -> "list[Group] | None":
        """Render held-out faces in special groups; None if `groups` should divide the faces that `render` renders."""
        return None

    def baselines(self, source_size: int, paired: bool) -> "list[Method]":
        """List the baselines of the task, which compute outputs without a model.

        Args:
            source_size: Side of the sources in pixels.
            paired: Whether sources are files instead of being derived from the targets.
        """
        return []

    def variants(self, method: "Method") -> "list[Method]":
        """List variants of an encoder's method that post-process its outputs, to be evaluated in addition to it."""
        return []


@dataclass(frozen=True)
class Group:
    """Examples that are evaluated together, and the task that makes pairs of them."""

    name: str
    examples: Indexed[Example]
    task: Task
