"""Resize, crop and convert uint8 images [H, W, C] without PyTorch, for processes that only read images."""

import numpy as np
from PIL import Image

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, like Pillow's conversion to gray

Region = tuple[float, float, float, float]
"""left, top, right and bottom of a part of an image, as fractions of its width and height"""


def to_planes(array: np.ndarray) -> np.ndarray:
    """Convert uint8 [H, W, C] to float32 [C, H, W] in [-1, 1]."""
    planes = np.ascontiguousarray(array.transpose(2, 0, 1), np.float32)  # [C, H, W]
    return planes / 127.5 - 1


def from_planes(planes: np.ndarray) -> np.ndarray:
    """Convert float32 [C, H, W] in [-1, 1] to uint8 [H, W, C], clamped and rounded: the inverse of `to_planes`."""
    return np.ascontiguousarray(((planes + 1) * 127.5).round().clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def to_pillow(array: np.ndarray) -> Image.Image:
    """Convert uint8 [H, W] or [H, W, 1 | 3 | 4] to a Pillow image.

    Raises:
        ValueError: The array has another type or shape.
    """
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ValueError(f"expected uint8 [H, W] or [H, W, 1 | 3 | 4], not {array.dtype} {list(array.shape)}")
    return Image.fromarray(np.ascontiguousarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array))


def resize(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image with the Lanczos filter, or a label map to the nearest neighbour.

    Args:
        array: uint8 image [H, W, C] or label map [H, W].
        size: (height, width) in pixels.

    Returns:
        uint8 [height, width, C] or [height, width].
    """
    height, width = size
    if array.shape[:2] == (height, width):
        return array
    method = Image.Resampling.NEAREST if array.ndim == 2 else Image.Resampling.LANCZOS
    resized = np.asarray(to_pillow(array).resize((width, height), method))
    return resized.reshape(height, width, *array.shape[2:])  # [height, width, C] or [height, width]


def center_crop_square(array: np.ndarray) -> np.ndarray:
    """Crop the largest centred square of [H, W, ...]: [side, side, ...]."""
    return center_crop(array, 1.0)  # [side, side, ...]


def center_crop(array: np.ndarray, aspect: float) -> np.ndarray:
    """Crop the largest centred part of [H, W, ...] whose height is `aspect` times its width."""
    height, width = array.shape[:2]
    h, w = min(height, max(1, round(width * aspect))), min(width, max(1, round(height / aspect)))
    top, left = (height - h) // 2, (width - w) // 2
    return array[top : top + h, left : left + w]  # [h, w, ...]


def pad_square(array: np.ndarray) -> tuple[np.ndarray, Region]:
    """Pad [H, W, ...] with black to a square, with the image in the centre.

    Returns:
        The square [side, side, ...], and the region of the image in it.
    """
    height, width = array.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = np.zeros((side, side, *array.shape[2:]), array.dtype)
    square[top : top + height, left : left + width] = array
    return square, (left / side, top / side, (left + width) / side, (top + height) / side)


def cut_region(array: np.ndarray, region: Region) -> np.ndarray:
    """Crop a region of [H, W, ...], rounded to whole pixels and at least one pixel wide and high."""
    height, width = array.shape[:2]
    left, top, right, bottom = (round(share * size) for share, size in zip(region, (width, height) * 2, strict=True))
    return array[min(top, height - 1) : max(bottom, top + 1), min(left, width - 1) : max(right, left + 1)]
