"""Resize, crop and convert uint8 images [H, W, C] without PyTorch, for processes that only read images."""

import numpy as np
from PIL import Image

Region = tuple[float, float, float, float]
"""left, top, right and bottom of a part of a picture, as shares of its width and height"""


def to_planes(array: np.ndarray) -> np.ndarray:
    """Convert uint8 [H, W, C] to float32 [C, H, W] in [-1, 1]."""
    planes = np.ascontiguousarray(array.transpose(2, 0, 1), np.float32)  # [C, H, W]
    return planes / 127.5 - 1


def to_pillow(array: np.ndarray) -> Image.Image:
    """Convert uint8 [H, W] or [H, W, 1 | 3 | 4] to a Pillow image. ValueError: the array has another type or shape."""
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ValueError(f"expected uint8 [H, W] or [H, W, 1 | 3 | 4], not {array.dtype} {list(array.shape)}")
    return Image.fromarray(np.ascontiguousarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array))


def resize(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize uint8 [H, W, C] to [*size, C] by Lanczos, and a label map [H, W] by nearest neighbour to [*size]."""
    height, width = size
    if array.shape[:2] == (height, width):
        return array
    method = Image.Resampling.NEAREST if array.ndim == 2 else Image.Resampling.LANCZOS
    resized = np.asarray(to_pillow(array).resize((width, height), method))
    return resized.reshape(height, width, *array.shape[2:])  # [height, width, C] or [height, width]


def center_crop_square(array: np.ndarray) -> np.ndarray:
    """Return the largest centred square of [H, W, ...]."""
    return center_crop(array, 1.0)  # [side, side, ...]


def center_crop(array: np.ndarray, aspect: float) -> np.ndarray:
    """Return the largest centred part of [H, W, ...] whose height is `aspect` times its width."""
    height, width = array.shape[:2]
    h, w = min(height, max(1, round(width * aspect))), min(width, max(1, round(height / aspect)))
    top, left = (height - h) // 2, (width - w) // 2
    return array[top : top + h, left : left + w]  # [h, w, ...]


def pad_square(array: np.ndarray) -> tuple[np.ndarray, Region]:
    """Place [H, W, ...] in the middle of a black square [side, side, ...], and return the square and the region."""
    height, width = array.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = np.zeros((side, side, *array.shape[2:]), array.dtype)
    square[top : top + height, left : left + width] = array
    return square, (left / side, top / side, (left + width) / side, (top + height) / side)


def cut_region(array: np.ndarray, region: Region) -> np.ndarray:
    """Cut a region out of [H, W, ...], rounded to whole pixels and at least one pixel large."""
    height, width = array.shape[:2]
    left, top, right, bottom = (round(share * size) for share, size in zip(region, (width, height) * 2, strict=True))
    return array[min(top, height - 1) : max(bottom, top + 1), min(left, width - 1) : max(right, left + 1)]
