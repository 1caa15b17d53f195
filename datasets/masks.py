"""Random holes for inpainting: boolean masks [S, S], True where the image is missing.

Sizes are fractions of the image, so that a kind of mask looks the same at every resolution.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import maximum_filter

from stylegan2.runtime import pixels
from stylegan2.runtime.membrane import fill_hole, membrane

Mask = np.ndarray
SUPERSAMPLE = 4  # strokes and triangles are drawn larger and reduced, so that small masks are exact


def rectangles(size: int, rng: np.random.Generator) -> Mask:
    """Draw one to three boxes with sides of 0.2 to 0.5 of the image."""
    hole = np.zeros((size, size), bool)
    for _ in range(rng.integers(1, 4)):
        height, width = np.rint(rng.uniform(0.2, 0.5, 2) * size).astype(int)
        top, left = rng.integers(0, size - height + 1), rng.integers(0, size - width + 1)
        hole[top : top + height, left : left + width] = True
    return hole


def strokes(size: int, rng: np.random.Generator) -> Mask:
    """Draw free-form brush strokes (Yu 2019, arXiv 1806.03589, algorithm 1): chains of segments with round joints."""
    image, draw, side = _canvas(size)
    for _ in range(rng.integers(2, 6)):
        point, angle = rng.uniform(0, side, 2), rng.uniform(0, 2 * np.pi)
        width = rng.uniform(0.05, 0.14) * side
        for turn in range(rng.integers(3, 9)):
            angle += rng.uniform(0.3, 1.2) * (1 if turn % 2 else -1)  # alternating turns, like the movement of a hand
            end = point + rng.uniform(0.1, 0.3) * side * np.array([np.cos(angle), np.sin(angle)])
            draw.line([*point, *end], fill=1, width=round(width))
            for x, y in (point, end):
                draw.ellipse([x - width / 2, y - width / 2, x + width / 2, y + width / 2], fill=1)
            point = np.clip(end, 0, side)
    return _shrink(image, size)


def triangles(size: int, rng: np.random.Generator) -> Mask:
    """Draw a triangle that covers 0.08 to 0.35 of the image, as in the inpainting experiment of the pSp authors."""
    while True:
        corners = rng.uniform(0, 1, (3, 2))
        a, b = corners[1] - corners[0], corners[2] - corners[0]
        if 0.08 <= abs(a[0] * b[1] - a[1] * b[0]) / 2 <= 0.35:
            break
    image, draw, side = _canvas(size)
    draw.polygon([tuple(corner) for corner in corners * side], fill=1)
    return _shrink(image, size)


def halves(size: int, rng: np.random.Generator) -> Mask:
    """Mask the left, right, upper or lower half of the image."""
    hole = np.zeros((size, size), bool)
    hole[: size // 2] = True
    return np.rot90(hole, int(rng.integers(4))).copy()


MASKS: dict[str, Callable[[int, np.random.Generator], Mask]] = {
    "rectangles": rectangles,
    "strokes": strokes,
    "triangles": triangles,
    "halves": halves,
}


def paste_known(result: np.ndarray, picture: np.ndarray, hole: Mask) -> np.ndarray:
    """Replace the hole of an image by the result of inpainting, without a seam.

    The difference between image and result along the edge of the hole is spread into the hole and added to the result.

    Args:
        result: Result of inpainting, uint8 [R, R, 3].
        picture: The original image, uint8 [P, P, 3] of any size; in the hole it can show anything.
        hole: bool [S, S] of any size; it is dilated by one pixel, so that no masked pixel of the image remains.

    Returns:
        uint8 [R, R, 3]. Outside of the dilated hole it is the original image.
    """
    filled = fill_hole(picture, _dilated(hole, picture.shape[:2]))  # [P, P, 3]
    picture, wide = pixels.resize(filled, result.shape[:2]), _dilated(hole, result.shape[:2])  # [R, R, 3], [R, R]
    if not wide.any():
        return picture
    box = _around(wide)
    difference = picture[box].astype(np.float32) - result[box]  # [h, w, 3]
    mended = np.rint(result[box] + membrane(difference, wide[box])).clip(0, 255).astype(np.uint8)  # [h, w, 3]
    pasted = picture.copy()
    pasted[box] = np.where(wide[box][..., None], mended, picture[box])
    return pasted


def _dilated(hole: Mask, size: tuple[int, int]) -> Mask:
    """Dilate a mask by one pixel and resize it to [height, width]."""
    return pixels.resize(maximum_filter(hole, 3).astype(np.uint8), size) > 0


def _around(hole: Mask) -> tuple[slice, slice]:
    """Return the rows and columns of the smallest box that contains a hole and its neighbours."""
    places = (np.flatnonzero(hole.any(axis)) for axis in (1, 0))
    rows, columns = (slice(max(place[0] - 1, 0), place[-1] + 2) for place in places)
    return rows, columns


def _canvas(size: int) -> tuple[Image.Image, ImageDraw.ImageDraw, int]:
    side = size * SUPERSAMPLE
    image = Image.new("L", (side, side))
    return image, ImageDraw.Draw(image), side


def _shrink(image: Image.Image, size: int) -> Mask:
    """Reduce a supersampled drawing to a mask bool [size, size], True where at least half of a pixel is covered."""
    covered = np.asarray(image, np.float32).reshape(size, SUPERSAMPLE, size, SUPERSAMPLE).mean((1, 3))
    return covered >= 0.5
