"""Super-resolution: a photo from a reduced copy (pSp, arXiv 2008.00951: antialiased bicubic, factors 1 to 32)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from datasets.examples import Example, Indexed, to_size
from datasets.setting import setting
from datasets.tasks.registry import register_task
from datasets.tasks.task import Group, Task
from stylegan2.runtime import pixels
from stylegan2.runtime.errors import UserError

if TYPE_CHECKING:
    from psp.evaluation.methods import Method

FACTORS = (1, 2, 4, 8, 16, 32)


@register_task("super_resolution")
@dataclass(frozen=True)
class SuperResolution(Task):
    """Reduced photo to photo; each sample is reduced by a random factor, so that one model covers all factors.

    Args:
        resize_factors: factors by which to reduce photos, relative to the side of the encoder's input, such as
            1,2,4,8,16,32 or 8.
        resize_factor: reduce each photo by this factor first, unless it is that small already.
    """

    resize_factors: tuple[int, ...] = setting(FACTORS, only="training")
    resize_factor: int = setting(1, only="inference", alias="resize_factors")
    lambdas = {"l2": 1.0, "perceptual": 0.8, "id": 0.1, "w_norm": 0.005}  # noqa: RUF012
    multi_modal = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "resize_factors", tuple(self.resize_factors))  # JSON has lists
        if not self.resize_factors or min(self.resize_factor, *self.resize_factors) < 1:
            raise UserError(
                f"the factors of super-resolution must be whole numbers from 1 on, not {self.resize_factors}"
            )

    def make_pair(
        self, example: Example, source_size: int, target_size: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Make a pair of the reduced photo, or its source file, and the photo, mirrored with probability 0.5."""
        example = example.maybe_mirrored(rng)
        factor = int(rng.choice(self.resize_factors))
        target = to_size(example.target, target_size)  # [3, T, T]
        if example.source is not None:
            return to_size(example.source, source_size), target
        return pixels.to_planes(degrade(example.target, source_size, factor)), target

    def read_source(self, picture: np.ndarray, size: int, native_side: float) -> tuple[np.ndarray, np.ndarray]:
        if self.resize_factor > 1 and native_side > size / self.resize_factor:
            picture = degrade(picture, size, self.resize_factor)  # [S, S, 3]
        return to_size(picture, size), picture

    def groups(self, examples: Indexed[Example]) -> list[Group]:
        """Make one group per factor."""
        factors = sorted(set(self.resize_factors))
        return [Group(f"factor {factor}", examples, SuperResolution((factor,))) for factor in factors]

    def baselines(self, source_size: int, paired: bool) -> "list[Method]":
        """List the bicubic enlargement of the reduced photo, or the enlarged source if sources are files."""
        from datasets.baselines import baseline, bicubic_enlargement, resized_source  # imports PyTorch

        if paired:
            return [baseline("source, enlarged", source_size, resized_source)]
        factor = self.resize_factors[0]
        fill = bicubic_enlargement(max(1, round(source_size / factor)))
        return [baseline("bicubic enlargement", source_size, fill, factor=factor)]


def degrade(image: np.ndarray, size: int, factor: int) -> np.ndarray:
    """Reduce an image and enlarge it again, as small photos are when they are read.

    Args:
        image: uint8 [P, P, 3].
        size: Side S of the result in pixels.
        factor: The image is reduced to a side of size / factor.

    Returns:
        uint8 [S, S, 3].
    """
    small = max(1, round(size / factor))
    if small >= size:
        return pixels.resize(image, (size, size))  # [S, S, 3]
    shrunk = Image.fromarray(image).resize((small, small), Image.Resampling.BICUBIC)  # antialiased
    return pixels.resize(np.asarray(shrunk), (size, size))  # [S, S, 3]
