"""Inpainting: fill in what a mask covers (pSp's proof of concept had triangular masks).

The source has four channels: the photo, gray (0) where it is masked, and the mask, 1 where the photo is missing. The
paper gives no weights for it; these are those of super-resolution, the other task whose target is the whole photo.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from datasets.examples import Example
from datasets.folder import ImageFiles, square
from datasets.masks import MASKS, paste_known
from datasets.paired import by_stem
from datasets.tasks.registry import register_task
from datasets.tasks.task import Task
from datasets.transforms import to_size
from stylegan2.runtime import images
from stylegan2.runtime.errors import ImageError, UserError

OPAQUE, WHITE = 192, 128  # from this alpha on a pixel is known, as resampling blurs it; from this gray on it is a hole
GRAY = 128  # what a hole looks like


@register_task("inpainting")
@dataclass(frozen=True)
class Inpainting(Task):
    """Holes of random kinds, or the user's.

    Args:
        mask_kinds: names of datasets/masks.py to draw from.
        mask_data: a folder or zip of masks, or one mask, white where the image is missing. In training one is drawn
            for each sample, in place of `mask_kinds`; in inference a photo takes the mask of its name, or the only one.
            A photo's own transparency counts as a hole too. (Masks that belong to a training image each are its
            --source_data.)
        paste_known: inference only: put the known pixels of the photo back into the result.
    """

    mask_kinds: tuple[str, ...] = tuple(MASKS)
    mask_data: str | None = None
    paste_known: bool = False
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
            _ = self._masks  # a mistake shows at once

    @cached_property
    def _masks(self) -> ImageFiles:
        return ImageFiles(str(self.mask_data))

    @cached_property
    def _mask_indices(self) -> dict[str, int]:
        """{file name without extension: index}"""
        return {Path(name).name: index for name, index in by_stem(self._masks).items()}

    @property
    def config(self) -> dict[str, Any]:
        return {"mask_kinds": list(self.mask_kinds)}

    def make_pair(
        self, example: Example, source_size: int, target_size: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """The photo with a hole of its own and the whole photo, mirrored half of the time."""
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

    def show_source(self, source: Tensor) -> Tensor:
        return source[:, :3]  # [N, 3, S, S]

    def read_file(self, path: Any) -> np.ndarray:
        """uint8 [H, W, 4]: transparent where the photo is missing."""
        photo = images.read_image(path, "rgba").copy()  # [H, W, 4]
        if self.mask_data is not None:
            mask = images.resize(self._mask_of(Path(path))[..., 0], photo.shape[:2])  # [H, W]
            photo[..., 3][mask >= WHITE] = 0
        return photo

    def _mask_of(self, path: Path) -> np.ndarray:
        if len(self._masks) == 1:
            return self._masks.read(0, "gray")
        if path.stem not in self._mask_indices:
            raise ImageError(f"{str(path)!r} has no mask of its name in {self.mask_data}")
        return self._masks.read(self._mask_indices[path.stem], "gray")

    def read_source(self, picture: np.ndarray, size: int, native_side: float) -> tuple[Tensor, np.ndarray]:
        hole = picture[..., 3] < OPAQUE  # [P, P]
        seen = np.where(hole[..., None], np.uint8(GRAY), picture[..., :3])  # [P, P, 3]
        # A pixel of the encoder's input is missing where any part of it is.
        share = Image.fromarray(hole * np.uint8(255)).resize((size, size), Image.Resampling.BILINEAR)
        return masked(to_size(seen, size), np.asarray(share) > 0), seen

    def finish(self, result: np.ndarray, picture: np.ndarray, source: Tensor) -> np.ndarray:
        if not self.paste_known or result.shape[2] != 3:
            return result
        return paste_known(result, images.resize(picture, result.shape[:2]), source[3].numpy() > 0.5)


def masked(photo: Tensor, hole: np.ndarray) -> Tensor:
    """photo [3, S, S] and hole bool [S, S] -> [4, S, S]."""
    mask = torch.from_numpy(hole)[None].float()  # [1, S, S]
    return torch.cat([photo * (1 - mask), mask])  # [4, S, S]
