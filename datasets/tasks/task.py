"""What a task is; the methods here are those of a photo that is read as it is."""

from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from datasets.examples import Example
from datasets.synthetic import SyntheticFaces
from stylegan2.runtime import images


class Task:
    """A translation: what the encoder sees, what it should render, and how that is weighted.

    A task is a class of its own file, named by `@register_task`. Its settings, if it has any, are the fields of a
    frozen dataclass; each has a flag of its name.

    Attributes:
        source_channels: channels of the source tensor.
        lambdas: {loss: weight}, the paper's.
        source_mode: how the files of --source_data are read, "rgb", "gray" or "labels"; see `images.read_image`.
        needs_source: images alone are not enough, as no source can be derived from them.
        aligns: faces can be found in what a user translates with it.
        rendering: names what `render` makes of the procedural faces, and changes whenever that changes; "" is the
            plain picture.
    """

    registered_name: ClassVar[str]
    source_channels: int = 3
    lambdas: ClassVar[dict[str, float]]
    source_mode: ClassVar[str] = "rgb"
    needs_source: ClassVar[bool] = False
    aligns: ClassVar[bool] = True
    rendering: ClassVar[str] = ""

    @property
    def config(self) -> dict[str, Any]:
        """The settings that belong into a checkpoint, as JSON; `build_task` takes them again."""
        return {}

    # --- training ---

    def render(self, faces: SyntheticFaces, index: int) -> Example:
        """The procedural face of an index, with its exact source where the task has one."""
        return Example(faces.image(index))

    def make_pair(
        self, example: Example, source_size: int, target_size: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """source [source_channels, S, S] and target [3, T, T], float32 in [-1, 1]; what is random is drawn from rng."""
        raise AttributeError(f"{type(self).__name__} does not say how a pair is made")

    def show_source(self, source: Tensor) -> Tensor:
        """A batch of sources for people: [N, source_channels, S, S] -> [N, 3, S, S] in [-1, 1]."""
        return source

    # --- inference ---

    def read_file(self, path: Any) -> np.ndarray:
        """A user's file: uint8 [H, W, C] whose first three channels are its colours, or label ids [H, W]."""
        return images.read_image(path)

    def read_source(self, picture: np.ndarray, size: int, native_side: float) -> tuple[Tensor, np.ndarray]:
        """What the encoder reads of a picture, and the same for people.

        Args:
            picture: the square that was cut out of what `read_file` gave, uint8 [P, P, C] or [P, P].
            size: side of the encoder's input; a plain picture [3, P, P] of another size is resized later.
            native_side: pixels of the file under the picture's side: less than P where it was enlarged.

        Returns:
            float32 [source_channels, S, S] and uint8 [P, P, 3].
        """
        return images.to_tensor(picture), picture

    def finish(self, result: np.ndarray, picture: np.ndarray, source: Tensor) -> np.ndarray:
        """The last touch to a result uint8 [R, R, C], given what `read_source` returned."""
        return result
