"""Differentiable cropping and resizing of images, with boxes in fractions of the image.

Face networks read a certain part of an FFHQ-aligned image. A box in fractions serves every resolution.
"""

from functools import lru_cache

import torch
from torch import Tensor

Box = tuple[float, float, float, float]
"""(top, left, height, width) as fractions of the image."""

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
FACE: Box = (35 / 256, 32 / 256, 188 / 256, 188 / 256)
"""The face in an FFHQ-aligned image, which pSp crops for ArcFace and the crop losses: rows 35:223, columns 32:220 at
256 px."""


def crop_resize(images: Tensor, box: Box, height: int, width: int) -> Tensor:
    """Crop images to a box and resize the result bilinearly, without aliasing.

    Cropping and resizing are two matrix products. Hence the box may begin between pixels, and the gradient is exact and
    deterministic on every device.

    Args:
        images: Images [N, C, H, W].
        box: (top, left, height, width) as fractions of the image.
        height, width: Size of the result in pixels.

    Returns:
        Images [N, C, height, width].
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
@torch.inference_mode(False)  # the cached tensor may be used in training later, which forbids inference tensors
def resample_matrix(
    size: int, start: float, length: float, out_size: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Return the matrix that resamples one dimension by a triangle filter.

    The filter is as wide as an output pixel, but at least as wide as an input pixel. At the border, where a part of the
    filter lies outside of the image, the remaining weights are normalised to a sum of 1.

    Args:
        size: Number of input pixels.
        start, length: First pixel and number of pixels of the part that is resampled. Output pixel i begins at
            `start + i * length / out_size`.
        out_size: Number of output pixels.
        device, dtype: Device and type of the matrix.

    Returns:
        Weights [out_size, size].
    """
    scale = length / out_size
    centre = start + (torch.arange(out_size, dtype=torch.float64) + 0.5) * scale
    pixel = torch.arange(size, dtype=torch.float64) + 0.5
    distance = (pixel[None, :] - centre[:, None]).abs()  # [out_size, size]
    weights = (1 - distance / max(scale, 1.0)).clamp(min=0)
    return (weights / weights.sum(1, keepdim=True)).to(device, dtype)
