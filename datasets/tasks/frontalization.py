"""Frontalization: a turned head, seen from the front (pSp, section 4.2)."""

import numpy as np
from torch import Tensor

from datasets.baselines import baseline, resized_source
from datasets.examples import Example, Indexed
from datasets.pack import DiskCache
from datasets.synthetic import HELD_OUT_SEED, RENDERER_VERSION, SyntheticFaces
from datasets.tasks.registry import register_task
from datasets.tasks.task import Group, Task
from datasets.transforms import to_size
from psp.evaluation.methods import Method
from stylegan2.runtime.errors import UserError

MAX_YAW = 60.0  # degrees
YAWS = (0, 30, 45, 60)  # degrees to either side, of the groups that are measured
TURNED_LENGTH = 2048  # heads of each angle: their cache takes its whole place on the disk at once
YAW_STREAM = 2  # the faces draw identity and nuisance from streams 0 and 1


@register_task("frontalization")
class Frontalization(Task):
    """The procedural faces give exact pairs, as do a user's sources; photos alone follow the paper's recipe."""

    # The paper's point: the pixels may differ (the pose does), the identity and the face's looks may not.
    lambdas = {  # noqa: RUF012
        "l2": 0.001,
        "perceptual": 0.08,
        "id": 1.0,
        "w_norm": 0.005,
        "l2_crop": 0.01,
        "perceptual_crop": 0.8,
    }
    rendering = "turned 1"
    pictures_source = False  # it is a row by itself

    def render(self, faces: SyntheticFaces, index: int) -> Example:
        """Render a person turned by a yaw between -60 and 60 degrees, of its own for every index."""
        yaw = np.random.default_rng([faces.seed, index, YAW_STREAM]).uniform(-MAX_YAW, MAX_YAW)
        return self.turned(faces, index, float(yaw))

    @staticmethod
    def turned(faces: SyntheticFaces, index: int, yaw: float) -> Example:
        """Render the person of an index turned by yaw degrees; the target is the same one, upright in this light."""
        return Example(faces.image(index, yaw=0.0, pitch=0.0, roll=0.0), faces.image(index, yaw=yaw))

    def make_pair(
        self, example: Example, source_size: int, target_size: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Mirror a true pair as one. A photo alone is its own source, and each side is mirrored or not by itself.

        The latter is how the paper learns without pairs: only a frontal face can satisfy both directions.
        """
        if example.source is not None:
            example = example.maybe_mirrored(rng)
            assert example.source is not None  # a mirrored pair is a pair
            return to_size(example.source, source_size), to_size(example.target, target_size)
        source, target = (example.maybe_mirrored(rng).target for _ in range(2))
        return to_size(source, source_size), to_size(target, target_size)

    def groups(self, examples: Indexed[Example]) -> list[Group]:
        raise UserError(
            "photos alone have no true frontal face to compare with: give the frontal ones as data and the turned"
            " ones as source_data, or measure on procedural faces"
        )

    def rendered_groups(self, resolution: int) -> list[Group]:
        """Make a group of each angle."""
        return [Group(f"yaw {yaw}", TurnedExamples(yaw, resolution), self) for yaw in YAWS]

    def baselines(self, source_size: int, paired: bool) -> list[Method]:
        return [baseline("turned source", source_size, resized_source)]


class TurnedExamples:
    """Every head turned by the same angle: to the right for even indices, to the left for odd ones; kept on disk."""

    def __init__(self, yaw: int, resolution: int) -> None:
        key = f"faces v{RENDERER_VERSION} {resolution} px seed {HELD_OUT_SEED} turned by {yaw} 1"
        self.cache = DiskCache(_TurnedPairs(yaw, resolution), (resolution, resolution, 6), key)

    def __len__(self) -> int:
        return len(self.cache)

    def __getitem__(self, index: int) -> Example:
        target, source = np.split(self.cache[index], 2, axis=2)  # [R, R, 3] each
        return Example(np.ascontiguousarray(target), np.ascontiguousarray(source))


class _TurnedPairs:
    """`[index]` gives target and source in one array, uint8 [R, R, 6]."""

    def __init__(self, yaw: int, resolution: int) -> None:
        self.faces, self.yaw = SyntheticFaces(resolution, HELD_OUT_SEED), yaw

    def __len__(self) -> int:
        return TURNED_LENGTH

    def __getitem__(self, index: int) -> np.ndarray:
        example = Frontalization.turned(self.faces, index, float(-self.yaw if index % 2 else self.yaw))
        assert example.source is not None  # a turned head has both
        return np.concatenate([example.target, example.source], axis=2)  # [R, R, 6]
