"""Turning frontal photos: the pixels of an aligned face move as if it were the surface of a generic head.

A head that is turned by an angle moves each pixel of a frontal photo along its row, by its depth times the sine of the
angle. The depth of a generic head, a paraboloid with a nose, is good enough for photos of 64 to 256 px, and it makes
pairs whose identity, light and background are those of a real photo. A learned model of faces would only know its own
(compare the face profiling of Zhu et al. 2016, arXiv 1511.07212, section 4, with a fitted 3D model).
"""

import numpy as np
from scipy.ndimage import map_coordinates

# The head in a photo that is aligned as in FFHQ. Lengths are fractions of the image's side.
EYE = (0.386, 0.48)  # x and y of the left eye, whose depth is that of the axis: alignment keeps the eyes in place
CENTRE, AXES, DEPTH = (0.5, 0.54), (0.37, 0.5), 0.28  # of the paraboloid: x and y, half its width and height, depth
NOSE, NOSE_SIGMA, NOSE_DEPTH = (0.5, 0.6), (0.04, 0.055), 0.055  # a Gaussian on the paraboloid
BEHIND = -0.07  # smallest depth, that of what is beside the head
MOVES, RESTS = 0.9, 1.7  # distances from the centre, in half axes, from which on the image moves less, and not at all


def turn(photo: np.ndarray, degrees: float) -> np.ndarray:
    """Turn the head in a frontal photo to the side.

    Args:
        photo: A face that is aligned as in FFHQ, uint8 [P, P, C].
        degrees: Angle by which to turn it; the nose moves to the right in the image if it is positive. Beyond 45, the
            far side of the face is folded.

    Returns:
        The turned photo, uint8 [P, P, C]. What the photo does not show is stretched from what is next to it.
    """
    if degrees < 0:
        return np.ascontiguousarray(turn(photo[:, ::-1], -degrees)[:, ::-1])
    size = len(photo)
    x = (np.arange(size) + 0.5) / size  # [P]
    moved = x + _displacement(x, np.radians(degrees))  # [P, P]
    # What is nearer to the camera moves further: of pixels that meet, those on the left hide those on the right.
    moved = np.maximum.accumulate(moved, axis=1) + 1e-6 * np.arange(size)  # [P, P], increasing
    origin = np.stack([np.interp(x, row, x) for row in moved]) * size - 0.5  # [P, P], column of each pixel's origin
    rows = np.broadcast_to(np.arange(size)[:, None], origin.shape)  # [P, P]
    planes = [map_coordinates(plane, [rows, origin], np.float32, mode="nearest") for plane in _planes(photo)]
    return np.rint(np.stack(planes, axis=2)).clip(0, 255).astype(np.uint8)  # [P, P, C]


def _planes(photo: np.ndarray) -> np.ndarray:
    return photo.transpose(2, 0, 1).astype(np.float32)  # [C, P, P]


def _displacement(x: np.ndarray, angle: float) -> np.ndarray:
    """Return how far each pixel moves to the right, [P, P], for the positions [P] of columns and rows."""
    depth = _depth(x, x[:, None])  # [P, P]
    axis = _depth(*map(np.asarray, EYE))
    turned = (x - CENTRE[0]) * (np.cos(angle) - 1) + (depth - axis) * np.sin(angle)  # [P, P]
    distance = np.sqrt(_squared_distance(x, x[:, None], CENTRE, AXES))  # [P, P]
    share = ((RESTS - distance) / (RESTS - MOVES)).clip(0, 1)
    return turned * share**2 * (3 - 2 * share)  # smooth at both ends


def _depth(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the depth of the generic head, towards the camera."""
    head = np.maximum(DEPTH * (1 - _squared_distance(x, y, CENTRE, AXES)), BEHIND)
    return head + NOSE_DEPTH * np.exp(-0.5 * _squared_distance(x, y, NOSE, NOSE_SIGMA))


def _squared_distance(
    x: np.ndarray, y: np.ndarray, centre: tuple[float, float], scale: tuple[float, float]
) -> np.ndarray:
    return ((x - centre[0]) / scale[0]) ** 2 + ((y - centre[1]) / scale[1]) ** 2
