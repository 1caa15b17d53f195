"""Inpainting: filling in the parts of a photo that a mask covers (the experiment in the pSp paper had triangles).

The source has four channels: the photo, gray (0) where it is masked, and the mask, 1 where the photo is missing. The
paper gives no loss weights for this task. The weights here are those of super-resolution, whose target is also the
whole photo.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datasets.examples import Example, Indexed, to_size
from datasets.folder import ImageFiles, square
from datasets.masks import MASKS, paste_known
from datasets.paired import by_stem
from datasets.setting import setting
from datasets.synthetic import HELD_OUT_SEED
from datasets.tasks.registry import register_task
from datasets.tasks.task import Group, Task
from psp.inference.sources import PhotosWithHoles, masked
from stylegan2.runtime import image_reader, pixels
from stylegan2.runtime.errors import ImageError, UserError

if TYPE_CHECKING:
    from torch import Tensor

    from psp.evaluation.methods import Method

WHITE = 128  # smallest gray value of a mask that counts as a hole
QUARTER = 0.5  # side of a hole that covers a quarter of the image, as a fraction of the image's side


@register_task("inpainting")
@dataclass(frozen=True)
class Inpainting(Task):
    """Photo with holes to whole photo; the holes are random or come from mask files.

    Args:
        mask_kinds: kinds of random holes, one or more of rectangles,strokes,triangles,halves.
        mask_data: a folder or zip file of masks, or a single mask, white where the image is missing. In training, a
            random one of them is used for each sample instead of a random hole. In inference, a photo gets the mask of
            the same name, or the single mask; transparent pixels of a photo are always a hole.
        paste_known: put the known pixels of the photo back into the result.
    """

    mask_kinds: tuple[str, ...] = setting(tuple(MASKS), only="training")
    mask_data: str | None = setting(None, stored=False)
    paste_known: bool = setting(False, only="inference")
    source_channels = 4
    lambdas = {"l2": 1.0, "perceptual": 0.8, "id": 0.1, "w_norm": 0.005}  # noqa: RUF012
    source_mode = "gray"

    def __post_init__(self) -> None:
        object.__setattr__(self, "mask_kinds", tuple(self.mask_kinds))  # JSON has lists
        if unknown := sorted(set(self.mask_kinds) - MASKS.keys()):
            raise UserError(f"there is no mask kind {', '.join(unknown)}; there are {', '.join(MASKS)}")
        if not self.mask_kinds:
            raise UserError(f"no mask kind was given; there are {', '.join(MASKS)}")
        if self.mask_data is not None:
            _ = self._masks  # opened here so that a wrong path is reported at once

    @cached_property
    def _masks(self) -> ImageFiles:
        return ImageFiles(str(self.mask_data))

    @cached_property
    def _mask_indices(self) -> dict[str, int]:
        """Return {file name of a mask without extension: index}."""
        return {Path(name).name: index for name, index in by_stem(self._masks).items()}

    def make_pair(
        self, example: Example, source_size: int, target_size: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Make a pair of the photo with a hole and the whole photo, mirrored with probability 0.5."""
        example = example.maybe_mirrored(rng)
        hole = self._draw_hole(example, source_size, rng)  # [S, S]
        return masked(to_size(example.target, source_size), hole), to_size(example.target, target_size)

    def _draw_hole(self, example: Example, size: int, rng: np.random.Generator) -> np.ndarray:
        if example.source is not None:
            return square(example.source[..., 0], size) >= WHITE
        if self.mask_data is not None:
            index = int(rng.integers(len(self._masks)))
            return square(self._masks.read(index, "gray")[..., 0], size) >= WHITE
        return MASKS[self.mask_kinds[rng.integers(len(self.mask_kinds))]](size, rng)

    def show_source(self, source: "Tensor") -> "Tensor":
        return source[:, :3]  # [N, 3, S, S]

    def read_file(self, path: str | os.PathLike) -> np.ndarray:
        """Read a photo as uint8 [H, W, 4] that is transparent where it is missing or where its mask is white."""
        photo = image_reader.read_image(path, "rgba").copy()  # [H, W, 4]
        if self.mask_data is not None:
            mask = pixels.resize(self._mask_of(Path(path))[..., 0], photo.shape[:2])  # [H, W]
            photo[..., 3][mask >= WHITE] = 0
        return photo

    def _mask_of(self, path: Path) -> np.ndarray:
        if len(self._masks) == 1:
            return self._masks.read(0, "gray")
        if path.stem not in self._mask_indices:
            raise ImageError(f"{str(path)!r} has no mask of its name in {self.mask_data}")
        return self._masks.read(self._mask_indices[path.stem], "gray")

    def read_source(self, picture: np.ndarray, size: int, native_side: float) -> tuple[np.ndarray, np.ndarray]:
        return PhotosWithHoles().read_source(picture, size, native_side)

    def finish(self, result: np.ndarray, picture: np.ndarray, source: np.ndarray) -> np.ndarray:
        if not self.paste_known or result.shape[2] != 3:
            return result
        return paste_known(result, picture, source[3] > 0.5)

    def groups(self, examples: Indexed[Example]) -> list[Group]:
        """Make one group per kind of hole, and one with square holes that cover a quarter of the image."""
        kinds = [Group(kind, examples, Inpainting((kind,))) for kind in self.mask_kinds]
        return [*kinds, Group("quarter", Quarters(examples), self)]

    def baselines(self, source_size: int, paired: bool) -> "list[Method]":
        from datasets.baselines import baseline, mean_fill  # imports PyTorch

        return [baseline("mean fill", source_size, mean_fill)]

    def variants(self, method: "Method") -> "list[Method]":
        from datasets.baselines import with_known_pixels  # imports PyTorch

        return [with_known_pixels(method)]


# --- evaluation ---


class Quarters:
    """Images with a mask each: a square hole at a random position that covers a quarter of the image."""

    def __init__(self, examples: Indexed[Example]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        target = self.examples[index].target
        size = len(target)
        side = round(QUARTER * size)
        top, left = np.random.default_rng([HELD_OUT_SEED, index]).integers(0, size - side + 1, 2)
        mask = np.zeros((size, size, 1), np.uint8)
        mask[top : top + side, left : left + side] = 255
        return Example(target, mask)
