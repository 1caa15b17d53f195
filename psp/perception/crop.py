"""Cutting a box out of an image and resizing it, differentiably, with the box in fractions of the image.

Face networks want a certain part of an FFHQ-aligned image. As fractions, one box serves every resolution.
"""

from functools import lru_cache

import torch
from torch import Tensor

Box = tuple[float, float, float, float]
"""(top, left, height, width) as fractions of the image."""

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
FACE: Box = (35 / 256, 32 / 256, 188 / 256, 188 / 256)
"""The face in an FFHQ-aligned image as pSp cuts it (ArcFace, crop losses): rows 35:223, columns 32:220 at 256."""


def crop_resize(images: Tensor, box: Box, height: int, width: int) -> Tensor:
    """Cut a box out of images and resize it, bilinearly and without aliasing.

    These are two products with a small matrix each: the box may begin between pixels, the gradient is exact and, on
    every device, the same from run to run.

    Args:
        images: [N, C, H, W].
        box: (top, left, height, width) as fractions of the image.
        height, width: Size of the result in pixels.

    Returns:
        [N, C, height, width].
    """
    top, left, box_height, box_width = box
    rows, columns = images.shape[2:]
    if (rows, columns) == (height, width) and box == WHOLE:
        return images
    down = resample_matrix(rows, top * rows, box_height * rows, height, images.device, images.dtype)  # [height, H]
    across = resample_matrix(columns, left * columns, box_width * columns, width, images.device, images.dtype)
    images = images @ across.T  # [N, C, H, width]
    return down @ images  # [N, C, height, width]


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # a tensor made in inference mode could serve no later training step
def resample_matrix(
    size: int, start: float, length: float, out_size: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Return the weights of a triangle filter that is as wide as an output pixel, and at least as an input pixel.

    At the border the weights that would fall outside are shared out among the others.

    Args:
        size: Pixels of the input.
        start, length: The part that is resampled, in pixels: output pixel i covers the input from
            `start + i * length / out_size` on.
        out_size: Pixels of the output.
        device, dtype: Of the weights.

    Returns:
        [out_size, size].
    """
    scale = length / out_size
    centre = start + (torch.arange(out_size, dtype=torch.float64) + 0.5) * scale
    pixel = torch.arange(size, dtype=torch.float64) + 0.5
    distance = (pixel[None, :] - centre[:, None]).abs()  # [out_size, size]
    weights = (1 - distance / max(scale, 1.0)).clamp(min=0)
    return (weights / weights.sum(1, keepdim=True)).to(device, dtype)
