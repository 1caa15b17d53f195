"""Frontalization: rendering a turned head from the front (pSp, arXiv 2008.00951, section 4.2)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from annotated_types import Ge, Le

from datasets.disk_cache import DiskCache
from datasets.examples import Example, Indexed, to_size
from datasets.setting import setting
from datasets.synthetic import HELD_OUT_SEED, RENDERER_VERSION, SyntheticFaces
from datasets.tasks.registry import register_task
from datasets.tasks.task import Group, Task
from datasets.turning import turn
from stylegan2.runtime.errors import UserError

if TYPE_CHECKING:
    from psp.evaluation.methods import Method

MAX_YAW = 60.0  # degrees
YAWS = (0, 30, 45, 60)  # yaw of the groups for evaluation in degrees, to either side
TURNED_LENGTH = 2048  # number of heads per angle; the length of their cache files is fixed from the start
YAW_STREAM = 2  # random stream of the yaw; the faces draw identity and nuisance from streams 0 and 1


@register_task("frontalization")
@dataclass(frozen=True)
class Frontalization(Task):
    """Turned head to frontal face; procedural faces and source files give exact pairs, photos alone random mirroring.

    Without exact pairs, the training follows the paper: source and target are the same photo, mirrored independently.
    Photos that are frontal can also be turned to make the sources.

    Args:
        max_turn: turn each photo by a random angle of up to this many degrees to make its source, for frontal photos;
            0 follows the paper's recipe.
    """

    max_turn: Annotated[float, Ge(0), Le(MAX_YAW)] = setting(0.0, only="training")
    # As in the paper: pixels may differ since the pose does, but identity and appearance have to stay the same.
    lambdas = {  # noqa: RUF012
        "l2": 0.001,
        "perceptual": 0.08,
        "id": 1.0,
        "w_norm": 0.005,
        "l2_crop": 0.01,
        "perceptual_crop": 0.8,
    }
    rendering = "turned 1"
    pictures_source = False  # the baseline shows the source already

    def __post_init__(self) -> None:
        if not 0 <= self.max_turn <= MAX_YAW:
            raise UserError(f"max_turn is an angle from 0 to {MAX_YAW:g} degrees, not {self.max_turn:g}")

    def render(self, faces: SyntheticFaces, index: int) -> Example:
        """Render a person whose head is turned by a random yaw between -60 and 60 degrees that depends on the index."""
        yaw = np.random.default_rng([faces.seed, index, YAW_STREAM]).uniform(-MAX_YAW, MAX_YAW)
        return self.turned(faces, index, float(yaw))

    @staticmethod
    def turned(faces: SyntheticFaces, index: int, yaw: float) -> Example:
        """Render the person at an index turned by `yaw` degrees; the target is frontal, in the same light."""
        return Example(faces.image(index, yaw=0.0, pitch=0.0, roll=0.0), faces.image(index, yaw=yaw))

    def make_pair(
        self, example: Example, source_size: int, target_size: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Make a training pair; see `Task.make_pair`.

        Source and target of an exact pair are mirrored together. A photo without a source is its own source, and both
        are mirrored independently, which is how the paper learns without pairs: only a frontal face fits both targets.
        With `max_turn`, the source is the photo, turned, instead.
        """
        if example.source is not None:
            example = example.maybe_mirrored(rng)
            assert example.source is not None  # mirroring keeps the source
            return to_size(example.source, source_size), to_size(example.target, target_size)
        if self.max_turn:
            target = example.maybe_mirrored(rng).target
            source = turn(target, rng.uniform(-self.max_turn, self.max_turn))
            return to_size(source, source_size), to_size(target, target_size)
        source, target = (example.maybe_mirrored(rng).target for _ in range(2))
        return to_size(source, source_size), to_size(target, target_size)

    def groups(self, examples: Indexed[Example]) -> list[Group]:
        raise UserError(
            "photos alone have no true frontal face to compare with: give the frontal ones as data and the turned"
            " ones as source_data, or measure on procedural faces"
        )

    def rendered_groups(self, resolution: int) -> list[Group]:
        """Render held-out faces in one group per angle."""
        return [Group(f"yaw {yaw}", TurnedExamples(yaw, resolution), self) for yaw in YAWS]

    def baselines(self, source_size: int, paired: bool) -> "list[Method]":
        from datasets.baselines import baseline, resized_source  # imports PyTorch

        return [baseline("turned source", source_size, resized_source)]


class TurnedExamples:
    """Heads turned by the same angle, to the right for even indices and to the left for odd ones, cached on disk.

    Args:
        yaw: Angle in degrees.
        resolution: Side of the images in pixels.
    """

    def __init__(self, yaw: int, resolution: int) -> None:
        key = f"faces v{RENDERER_VERSION} {resolution} px seed {HELD_OUT_SEED} turned by {yaw} 1"
        self.cache = DiskCache(_TurnedPairs(yaw, resolution), (resolution, resolution, 6), key)

    def __len__(self) -> int:
        return len(self.cache)

    def __getitem__(self, index: int) -> Example:
        target, source = np.split(self.cache[index], 2, axis=2)  # [R, R, 3] each
        return Example(np.ascontiguousarray(target), np.ascontiguousarray(source))


class _TurnedPairs:
    """Rendered pairs: `[index]` returns target and source in one array, uint8 [R, R, 6]."""

    def __init__(self, yaw: int, resolution: int) -> None:
        self.faces, self.yaw = SyntheticFaces(resolution, HELD_OUT_SEED), yaw

    def __len__(self) -> int:
        return TURNED_LENGTH

    def __getitem__(self, index: int) -> np.ndarray:
        example = Frontalization.turned(self.faces, index, float(-self.yaw if index % 2 else self.yaw))
        assert example.source is not None  # `turned` always renders a source
        return np.concatenate([example.target, example.source], axis=2)  # [R, R, 6]
