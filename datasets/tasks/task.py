"""What a task is; the methods here are those of a photo that is read as it is."""

from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from datasets.examples import Example, Indexed
from datasets.synthetic import SyntheticFaces
from psp.evaluation.methods import Method
from stylegan2.runtime import images


class Task:
    """A translation: what the encoder sees, what it should render, and how that is weighted.

    A task is a class of its own file, named by `@register_task`. Its settings, if it has any, are the fields of a
    frozen dataclass: each is a flag of its name in training and inference, documented under `Args` of the class.

    Attributes:
        source_channels: Channels of the source tensor.
        lambdas: {loss: weight}, the paper's.
        source_mode: How the source files of a user are read, "rgb", "gray" or "labels"; see `images.read_image`.
        needs_source: Whether images alone are not enough, as no source can be derived from them.
        aligns: Whether faces can be found in what a user translates.
        rendering: Name of what `render` makes of the procedural faces, which changes whenever that changes; "" is the
            plain picture.
        inverts: Whether an output is meant to be its source, so that it can be optimised towards it.
        multi_modal: Whether a source leaves open what the face looks like, so that several outputs are of interest.
        keeps_labels: Whether sources are label maps, to which a segmenter can compare outputs.
        pictures_source: Whether the picture of a comparison shows sources, which may be a row of it already.
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
    def config(self) -> dict[str, Any]:
        """Return the settings that belong into a checkpoint, as JSON; `build_task` takes them again."""
        settings = fields(self) if is_dataclass(self) else ()
        values = {entry.name: getattr(self, entry.name) for entry in settings if entry.metadata.get("stored", True)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    # --- training ---

    def render(self, faces: SyntheticFaces, index: int) -> Example:
        """Render the procedural face of an index, with its exact source where the task has one."""
        return Example(faces.image(index))

    def make_pair(
        self, example: Example, source_size: int, target_size: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Make a training pair.

        Args:
            example: An image, and its source where there is one.
            source_size, target_size: Sides S and T in pixels.
            rng: What is random is drawn from it.

        Returns:
            Source [source_channels, S, S] and target [3, T, T], float32 in [-1, 1].
        """
        raise AttributeError(f"{type(self).__name__} does not say how a pair is made")

    def show_source(self, source: Tensor) -> Tensor:
        """Show a batch of sources to people: [N, source_channels, S, S] -> [N, 3, S, S] in [-1, 1]."""
        return source

    # --- inference ---

    def read_file(self, path: Any) -> np.ndarray:
        """Read a user's file: uint8 [H, W, C] whose first three channels are its colours, or label ids [H, W]."""
        return images.read_image(path)

    def read_source(self, picture: np.ndarray, size: int, native_side: float) -> tuple[Tensor, np.ndarray]:
        """Prepare what the encoder reads of a picture, and the same for people.

        Args:
            picture: The square that was cut out of what `read_file` gave, uint8 [P, P, C] or [P, P].
            size: Side of the encoder's input; a plain picture [3, P, P] of another size is resized later.
            native_side: Pixels of the file under the picture's side: less than P where it was enlarged.

        Returns:
            float32 [source_channels, S, S] and uint8 [P, P, 3].
        """
        return images.to_tensor(picture), picture

    def finish(self, result: np.ndarray, picture: np.ndarray, source: Tensor) -> np.ndarray:
        """Finish a result uint8 [R, R, C], given what `read_source` returned."""
        return result

    # --- evaluation ---

    def groups(self, examples: Indexed[Example]) -> "list[Group]":
        """Divide held-out images, whose sources the task derives, into groups that are measured by themselves.

        Raises:
            UserError: Images alone are no truth for this task.
        """
        return [Group("all", examples, self)]

    def rendered_groups(self, resolution: int) -> "list[Group] | None":
        """Render held-out faces in groups of their own; None where `groups` of what `render` makes will do."""
        return None

    def baselines(self, source_size: int, paired: bool) -> list[Method]:
        """List what a model has to beat: the source itself, made into an image without any learning.

        Args:
            source_size: Side of the sources in pixels.
            paired: The sources are files of the user's, not derived from the targets.
        """
        return []

    def variants(self, method: Method) -> list[Method]:
        """List other ways of using an encoder's outputs, which are measured beside it."""
        return []


@dataclass(frozen=True)
class Group:
    """Examples of one kind, and the task that makes pairs of them."""

    name: str
    examples: Indexed[Example]
    task: Task
